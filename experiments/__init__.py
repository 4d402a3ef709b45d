"""The suite's experiments: one story per file, run as `python -m experiments.<name>`."""

import os

# Before torch is imported. Its threads meet after every layer; one that waits for the other may spin or sleep. Sleeping
# at once costs a third of the speed on an idle machine, spinning long makes everything up to ten times slower beside a
# busy core. This count keeps nine tenths of the one and three quarters of the other (B0, 96 px, two cores).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "4000")
