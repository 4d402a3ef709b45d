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
def test_threads_spin_briefly_unless_the_environment_sets_it(settings: dict[str, str], spins: str) -> None:
    code = (
        "import os, sys; from experiments.runtime.process_settings import prepare_process; prepare_process();"
        "assert 'torch' not in sys.modules; print(os.environ.get('GOMP_SPINCOUNT'))"
    )
    assert run(code, **settings) == spins


COMMANDS = ("pretrain", "mtl", "synthetic", "pretrain.train_identity", "mtl.train_baseline", "mtl.ablate", "mtl.submit",
            "synthetic.ablate", "synthetic.submit", "upscale")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_settles_it_before_it_imports_torch(command: str) -> None:
    code = f"""
import os, runpy, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT"))
            raise SystemExit
sys.meta_path.insert(0, Watch())
runpy.run_module("experiments.{command}", run_name="__main__", alter_sys=True)
"""
    assert run(code) == "4000"


PACKAGES = ("affect", "callbacks", "datamodules", "demo_data", "experiments", "lightning_modules")


@pytest.mark.slow
def test_importing_any_module_changes_no_setting_of_the_process() -> None:
    code = f"""
import ctypes, os, pkgutil, importlib, warnings
mallopt = []
original = ctypes.CDLL.__getattr__
def watch(self, name):
    if name == "mallopt":
        mallopt.append(name)
    return original(self, name)
ctypes.CDLL.__getattr__ = watch
import cv2, matplotlib, torch, timm, albumentations, pytorch_lightning, wandb, torchvision
before = (cv2.getNumThreads(), torch.get_num_threads(), os.environ.copy(), matplotlib.rcParams["backend"])
for package in {PACKAGES}:
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
after = (cv2.getNumThreads(), torch.get_num_threads(), os.environ.copy(), matplotlib.rcParams["backend"])
print(before == after, mallopt)
"""
    assert run(code) == "True []"


PAGES_OF_FREED_BLOCKS = """
import resource
from experiments.runtime.process_settings import prepare_process

prepare_process()

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
    code = "from experiments.runtime.process_settings import keep_freed_memory; print(keep_freed_memory())"
    assert run(code) == "True"
    assert run(code, **{variable: value}) == "False"
