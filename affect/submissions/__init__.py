"""Submission files of the two challenges."""
