"""LightningModules, one per file."""
