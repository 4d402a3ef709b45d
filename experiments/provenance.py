"""Where a result comes from: code, versions, device, command."""

import datetime
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch

_VERSIONED: Final = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "timm",
    "torchmetrics",
    "numpy",
    "albumentations",
)


def describe_environment(seed: int) -> dict[str, Any]:
    """Collect what a result depends on besides data and config: code, versions, device, command."""
    return {
        "git_revision": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _VERSIONED}},
        "seed": seed,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "cpu_count": os.cpu_count(),
        "command": ["python", *sys.orig_argv[1:]],
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _git(*arguments: str) -> str | None:
    try:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None  # not a checkout: an installed copy
