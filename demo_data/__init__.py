"""Drawn faces in the official layouts: one writer per data set, and the renderer."""
