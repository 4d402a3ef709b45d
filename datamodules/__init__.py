"""Data sets in their official layouts, read into batches (for their keys see the README)."""

import os

# Before albumentations is imported: else it asks the network for its version.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
