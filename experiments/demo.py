"""The embedded default data: drawn when an experiment is asked for it and it is not there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from affect.errors import UserError
from affect.json_file import read_json
from demo_data.aff_wild2 import write_aff_wild2
from demo_data.affectnet import write_affectnet
from demo_data.faces import write_faces
from demo_data.production import STAMP
from demo_data.synthetic_faces import write_synthetic_faces

DEMO_ROOT: Final = Path("data/demo")
WRITERS: Final[dict[str, Callable[..., bool]]] = {
    "faces": write_faces,
    "affectnet": write_affectnet,
    "aff_wild2": write_aff_wild2,
    "synthetic": write_synthetic_faces,
}
_STAMPED_SETS: Final = ("faces", "affectnet", "aff-wild2", "synthetic")


def is_demo(root: str | Path) -> bool:
    """Tell whether a folder holds a drawn set, whose images may be shown anywhere: it has the stamp of one."""
    try:
        stamp = read_json(Path(root) / STAMP, dict[str, Any], "draw the set again")
    except UserError:
        return False
    return stamp.get("set") in _STAMPED_SETS and "renderer" in stamp


def ensure_demo_data(kind: str, root: str | Path) -> None:
    """Draw a demo set if `root` is its default place and it is missing, partial or of another version there.

    Args:
        kind: Name of the set and of its folder below data/demo.
        root: The folder that the experiment reads.
    """
    if Path(root) == DEMO_ROOT / kind:
        WRITERS[kind](root)
