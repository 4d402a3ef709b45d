"""The embedded default data, drawn when an experiment needs it and it is missing."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import demo_data
from affect.errors import UserError
from affect.storage.fingerprint import file_digest
from affect.storage.json_file import read_json
from demo_data.aff_wild2 import write_aff_wild2
from demo_data.affectnet import write_affectnet
from demo_data.build import STAMP
from demo_data.synthetic_faces import write_synthetic_faces
from demo_data.vggface2 import write_vggface2

DEMO_ROOT: Final = Path("data/demo")
DRAWN_WEIGHTS: Final = Path(demo_data.__file__).with_name("face_weights.safetensors")
WRITERS: Final[dict[str, Callable[..., bool]]] = {
    "faces": write_vggface2,
    "affectnet": write_affectnet,
    "aff_wild2": write_aff_wild2,
    "synthetic": write_synthetic_faces,
}
_log = logging.getLogger(__name__)
_STAMPED_SETS: Final = ("faces", "affectnet", "aff-wild2", "synthetic")


def is_demo(root: str | Path) -> bool:
    """Return whether a folder has the stamp of a drawn set, whose images may be shown anywhere."""
    try:
        stamp = read_json(Path(root) / STAMP, dict[str, Any], "draw the set again")
    except UserError:
        return False
    return stamp.get("set") in _STAMPED_SETS and "renderer" in stamp


def is_drawn_weights(path: str | Path) -> bool:
    """Return whether a weights file has the content of the packaged one, which is learnt from drawn faces."""
    path = Path(path)
    return path.is_file() and file_digest(path) == file_digest(DRAWN_WEIGHTS)


def warn_of_drawn_weights(weights: str, root: str | Path, key: str) -> None:
    """Warn if the encoder starts from weights learnt on drawn faces although the data set is not drawn.

    `key` is the configuration key of the weights, with how else to set it.
    """
    if not is_demo(root) and is_drawn_weights(weights):
        _log.warning(
            "warning: the encoder starts from %s, which has seen drawn faces only, and %s is not a drawn set. The "
            "published network starts from one that identifies the people of VGGFace2: give its state dict as %s, or "
            "train one with `make faces DATA=/path/to/VGGFace2`. Results from this start cannot be compared with "
            "published ones", weights, root, key,
        )  # fmt: skip


def warn_of_drawn_backbone(path: str | Path, recipe: object, root: str | Path) -> None:
    """Warn if a network of stage 1 has learnt from drawn faces only although the data set is not drawn.

    `recipe` is that of its training, as its file notes it.
    """
    if recipe == "demo" and not is_demo(root):
        _log.warning(
            "warning: %s has learnt from drawn faces only, and %s is not a drawn set; give a network of stage 1 that "
            "has learnt from AffectNet: backbone= (make: BACKBONE=)", path, root,
        )  # fmt: skip


def ensure_demo_data(kind: str, root: str | Path) -> None:
    """Draw a demo set if `root` is its default place and it is missing, partial or of another version there."""
    if Path(root) == DEMO_ROOT / kind:
        WRITERS[kind](root)
