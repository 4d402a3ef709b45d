"""Weights files of unknown origin, read as data: nothing that a file names is imported, called or instantiated."""
