"""Drawing of faces."""
