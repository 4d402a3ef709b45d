"""Commands: a package per stage, and the machinery that they share in `runtime`."""
