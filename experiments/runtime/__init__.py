"""Machinery of the commands; it imports no stage."""
