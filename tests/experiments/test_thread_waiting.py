"""How torch's threads wait must be settled before torch is imported, so it is looked at in processes of its own."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("settings", "spins"),
    [({}, "4000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, "None")],
)
def test_threads_spin_a_little_unless_the_user_says_otherwise(settings: dict[str, str], spins: str) -> None:
    inherited = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = "import experiments, os, sys; assert 'torch' not in sys.modules; print(os.environ.get('GOMP_SPINCOUNT'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == spins
