"""What must be settled before torch is imported, so it is looked at in processes of its own."""

import os
import subprocess
import sys

import pytest

VARIABLES = (
    "GOMP_SPINCOUNT",
    "OMP_WAIT_POLICY",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_THRESHOLD_",
    "GLIBC_TUNABLES",
)


def run(code: str, **settings: str) -> str:
    """Run Python code in a fresh process and return what it prints."""
    inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("settings", "spins"),
    [({}, "4000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, "None")],
)
def test_threads_spin_a_little_unless_the_user_says_otherwise(settings: dict[str, str], spins: str) -> None:
    code = "import experiments, os, sys; assert 'torch' not in sys.modules; print(os.environ.get('GOMP_SPINCOUNT'))"
    assert run(code, **settings) == spins


PAGES_OF_FREED_BLOCKS = """
import resource
import experiments

def faults():
    blocks = [bytearray(24 << 20) for _ in range(4)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

first = faults()
for _ in range(10):
    last = faults()
print(last - first)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is Linux's")
def test_freed_memory_is_taken_again_without_new_pages() -> None:
    pages = 10 * 4 * (24 << 20) // os.sysconf("SC_PAGE_SIZE")
    assert int(run(PAGES_OF_FREED_BLOCKS)) < pages / 100


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is Linux's")
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MALLOC_TRIM_THRESHOLD_", "131072"),
        ("MALLOC_MMAP_THRESHOLD_", "131072"),
        ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=131072"),
    ],
)
def test_the_users_own_thresholds_stay(variable: str, value: str) -> None:
    code = "from experiments.cpu_settings import keep_freed_memory; print(keep_freed_memory())"
    assert run(code) == "True"
    assert run(code, **{variable: value}) == "False"
