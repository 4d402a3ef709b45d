"""Features of a frozen backbone in memory: tables, training batches, DataModule."""
