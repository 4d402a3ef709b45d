"""Readers of the official annotation formats."""
