"""Thread and memory settings of a process, made before torch is imported."""

import ctypes
import os
from typing import Final

SPIN_COUNT: Final = 4000
"""Rounds that a thread spins while it waits for the others, as torch's threads do after every layer.

Sleeping at once costs a third of the speed on an idle machine, spinning long makes everything up to ten times slower
beside a busy core. This count keeps nine tenths of the one and three quarters of the other (B0, 96 px, two cores).
"""

MAPPED_BLOCK: Final = 2**29
"""Bytes from which a block is taken from the system and given back at once, as a data set's features are."""

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_MOST_IN_OLD_GLIBC: Final = 2**25


def prepare_process() -> None:
    """Settle all of it; called by each command before it imports torch, and by nothing that is merely imported."""
    limit_spinning()
    keep_freed_memory()


def limit_spinning() -> None:
    """Limit how long threads spin while they wait, unless the environment sets it."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPIN_COUNT))


def keep_freed_memory() -> bool:
    """Keep what one training step frees for the next, unless the environment sets glibc's thresholds.

    By default it goes back to the system, which clears some 10,000 pages again in each step (B0, 96 px, 16 images): a
    tenth of the time, and more beside other jobs. The process holds its peak instead.

    Returns:
        Whether it was done; not where the C library is another one.
    """
    tuned = "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")
    if tuned or {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & os.environ.keys():
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # Whoever sets one threshold ends glibc's own moving of both.
    mapped = mallopt(_M_MMAP_THRESHOLD, MAPPED_BLOCK) or mallopt(_M_MMAP_THRESHOLD, _MOST_IN_OLD_GLIBC)
    return bool(mapped and mallopt(_M_TRIM_THRESHOLD, -1))
