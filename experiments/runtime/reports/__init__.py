"""What a run shows: messages, tables, figures, ablations, W&B."""
