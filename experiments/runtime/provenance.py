"""Provenance of a result: data, code, versions, device, command."""

import datetime
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from affect.storage.fingerprint import arrays_digest
from datamodules.images.dataset import ImageDataset
from datamodules.readers.aff_wild2 import Annotations

_VERSIONED: Final = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "timm",
    "torchmetrics",
    "numpy",
    "albumentations",
)


def describe_environment(seed: int, accelerator: str) -> dict[str, Any]:
    """Collect what a result depends on besides data and config: code, versions, device, command."""
    versions = {name: version(name) for name in _VERSIONED}
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    revision, dirty = git_state()
    return {
        "git_revision": revision,
        "git_dirty": dirty,
        # OpenCV's packages have several names.
        "versions": {"python": platform.python_version(), **versions, "opencv": cv2.__version__},
        "seed": seed,
        "device": torch.cuda.get_device_name() if on_gpu else platform.machine(),
        "cpu_count": os.cpu_count(),
        "command": ["python", *sys.orig_argv[1:]],
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def data_digest(data: Mapping[str, ImageDataset | Annotations]) -> str:
    """Return the digest of what a run was trained on, which every stage records as `data_fingerprint`.

    It covers paths, labels and face boxes, in order: the same for every copy of a set, and independent of where the
    set is, of its files' times and of enlarged copies. Pixels are left out, since reading them takes as long as an
    epoch.

    Args:
        data: Samples by split.
    """
    return arrays_digest({split: _columns(rows) for split, rows in data.items()})


def _columns(rows: ImageDataset | Annotations) -> dict[str, NDArray | None]:
    if isinstance(rows, Annotations):
        return {"path": np.asarray(rows.name, np.str_), **rows.labels}
    return {"path": rows.paths, "box": rows.boxes, **rows.labels}


def git_state() -> tuple[str | None, bool]:
    """Return the checked-out revision, None outside a checkout, and whether tracked files have local changes."""
    return _git("rev-parse", "HEAD"), bool(_git("status", "--porcelain", "--untracked-files=no"))


def _git(*arguments: str) -> str | None:
    try:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None  # not a checkout: an installed copy


def processor_name() -> str:
    """Return the processor's model name, or its architecture if the system does not provide it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
