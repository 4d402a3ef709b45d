"""Faces in pictures: detection, crop boxes, and tracking from frame to frame."""
