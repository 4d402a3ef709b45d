"""Backbones and heads, their files, weights from elsewhere, and faster encoders for a CPU."""
