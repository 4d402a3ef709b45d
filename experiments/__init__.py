"""The suite's experiments: one story per file, run as `python -m experiments.<name>`."""

import os

# Before torch is imported: threads that wait by spinning make everything up to ten times slower beside a busy core.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
