"""The embedded default data: drawn when an experiment is asked for it and it is not there."""

from pathlib import Path
from typing import Final

DEMO_ROOT: Final = Path("data/demo")


def is_demo(root: str | Path) -> bool:
    """Tell whether a folder holds a drawn set, whose images may be shown anywhere."""
    return (Path(root) / "demo.json").is_file()


def ensure_demo_data(kind: str, root: str | Path) -> None:
    """Draw a demo set if `root` is its default place and it is missing, partial or of another version there.

    Args:
        kind: Name of the set and of its folder below data/demo.
        root: The folder that the experiment reads.
    """
    if Path(root) == DEMO_ROOT / kind:
        from demo_data.__main__ import WRITERS

        WRITERS[kind](root)
