"""File formats and writing: atomic writes, locks, fingerprints, feature stores, upscaled trees, text and JSON."""
