"""Writer of a small AffectNet in either of its layouts (Mollahosseini et al. 2017, arXiv 1708.03985).

Layout "a": `Manually_Annotated_Images/<sub>/<file>.jpg`, `training.csv`, `validation.csv`; layout "b", the 2021
release: `train_set/` and `val_set/`, each with `images/<id>.jpg` and `annotations/<id>_exp.npy`, `_val`, `_aro`,
`_lnd`. Training classes are unbalanced in the order of the real set but less so, 5 to 1 instead of 36 to 1, since
every class has about 7 % at least; a few rows of each kind that a reader has to leave out are mixed in, and a few
without valence and arousal, of which only the expression counts; no person is in both training and validation.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from affect.labels import AFFECTNET_CODES
from affect.storage.atomic_write import write_array, write_text
from demo_data.build import demo_set, draw_all, write_jpeg
from demo_data.expressions import annotate, express
from demo_data.renderer.face import render
from demo_data.renderer.geometry import Pose
from demo_data.renderer.identity import generator, person
from demo_data.renderer.scene import Scene, backdrop

COLUMNS: Final = (
    "subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks", "expression",
    "valence", "arousal",
)  # fmt: skip
TRAINING_COUNTS: Final = (74874, 134415, 25459, 14090, 6378, 3803, 24882, 3750)
"""Faces per code 0 to 7 of the real training set."""

_RARE_SHARE: Final = 0.07  # of a class that is rarer in the real set; less could not teach it
_FACES_PER_PERSON: Final = 4
_NOT_ANNOTATED: Final = -2.0
_FILTERED: Final = ("None", "Uncertain", "No-Face", "no box", "no valence")
_SPLITS: Final = {"train": ("training.csv", "train_set"), "val": ("validation.csv", "val_set")}


@dataclass(frozen=True)
class _Photo:
    root: Path
    layout: str
    split: str
    number: int
    code: int
    flaw: str
    size: int
    seed: int


@dataclass(frozen=True)
class _Row:
    path: str
    box: tuple[int, int, int, int]
    landmarks: np.ndarray
    code: int
    valence_arousal: tuple[float, float]


@demo_set("affectnet")
def write_affectnet(
    root: Path,
    *,
    layout: str = "a",
    train: int = 1600,
    validation: int = 400,
    size: int = 136,
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Draw the AffectNet demo.

    Options, beside those of `demo_set`:
        layout: "a" (csv) or "b" (npy). In "b" the pictures are cropped to the face box, as the release has them.
        train: Training faces with all labels; those to be left out, or without valence and arousal, come on top.
        validation: The same for validation, as many of each class.
        size: Side of the pictures in pixels; the face box takes about three quarters of it.

    Raises:
        ValueError: If the layout is unknown.
    """
    if layout not in ("a", "b"):
        raise ValueError(f"layout must be 'a' or 'b', not {layout!r}")
    counts = {"train": training_counts(train), "val": _even_counts(validation)}
    photos = [photo for split in _SPLITS for photo in _plan(root, layout, split, counts[split], size, seed)]
    for photo in photos:
        _image_path(photo).parent.mkdir(parents=True, exist_ok=True)
    if layout == "b":
        for _, name in _SPLITS.values():
            (root / name / "annotations").mkdir()
    rows = draw_all(_take, photos, workers=workers, description="Drawing AffectNet faces")
    if layout == "a":
        for split, (name, _) in _SPLITS.items():
            own = [row for photo, row in zip(photos, rows, strict=True) if photo.split == split]
            write_text(root / name, _to_csv(own))


def training_counts(total: int) -> list[int]:
    """Share faces among codes 0 to 7 as the real training set does, with a floor for the rare ones."""
    shares = np.array(TRAINING_COUNTS) / sum(TRAINING_COUNTS)
    rare = shares < _RARE_SHARE
    shares[~rare] *= (1 - _RARE_SHARE * rare.sum()) / shares[~rare].sum()
    shares[rare] = _RARE_SHARE
    counts = np.floor(shares * total).astype(int)
    counts[1] += total - counts.sum()
    return [int(count) for count in counts]


def _even_counts(total: int) -> list[int]:
    classes = len(TRAINING_COUNTS)
    return [total // classes + (code < total % classes) for code in range(classes)]


def _plan(root: Path, layout: str, split: str, counts: list[int], size: int, seed: int) -> list[_Photo]:
    """Mix the classes, and among them two rows of each kind that lacks something (per 400 whole ones)."""
    rng = generator(f"affectnet/{split}", seed)
    usable = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    rows = [(int(code), "") for code in usable]
    for flaw in _FILTERED:
        for _ in range(max(2, len(usable) // 200)):
            code = AFFECTNET_CODES.index(flaw) if flaw in AFFECTNET_CODES else int(rng.integers(8))
            rows.insert(int(rng.integers(len(rows) + 1)), (code, flaw))
    return [_Photo(root, layout, split, number, code, flaw, size, seed) for number, (code, flaw) in enumerate(rows)]


def _image_path(photo: _Photo) -> Path:
    if photo.layout == "b":
        return photo.root / _SPLITS[photo.split][1] / "images" / f"{photo.number}.jpg"
    return photo.root / "Manually_Annotated_Images" / _sub_path(photo)


def _sub_path(photo: _Photo) -> str:
    start = 0 if photo.split == "train" else 900
    return f"{start + photo.number // 100 + 1}/{photo.split}{photo.number:06d}.jpg"


def _take(photo: _Photo) -> _Row:
    """Draw one picture, write it, and in layout "b" its annotations."""
    stream = f"affectnet/{photo.split}"
    rng = generator(stream, photo.seed, photo.number)
    who = person(stream, photo.seed, photo.number // _FACES_PER_PERSON)
    name = AFFECTNET_CODES[photo.code] if photo.code < len(TRAINING_COUNTS) else str(rng.choice(["Neutral", "Other"]))
    face, scene = express(name, rng), Scene.sample(rng)
    pose = Pose.sample(rng, scale=0.3)
    image, landmarks = render(who, face.action_units, pose, scene, photo.size)
    if photo.flaw == "No-Face":
        image = backdrop(scene, photo.size)
    box = _face_box(landmarks, photo.size, rng)
    valence, arousal = (round(float(value), 4) for value in annotate(face.valence_arousal, rng))
    if photo.flaw in ("Uncertain", "No-Face", "no valence"):
        valence = arousal = _NOT_ANNOTATED
    if photo.layout == "b":
        left, top, width, height = box
        image, landmarks = image[top : top + height, left : left + width], landmarks - (left, top)
    elif photo.flaw in ("no box", "No-Face"):
        box = (-1, -1, -1, -1)
    path = _image_path(photo)
    write_jpeg(path, image, scene.jpeg_quality)
    if photo.layout == "b":
        _write_npy(path, photo.code, valence, arousal, landmarks)
    return _Row(_sub_path(photo), box, landmarks, photo.code, (valence, arousal))


def _face_box(landmarks: np.ndarray, size: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Return a detector's slightly inaccurate square box inside the picture: left, top, width, height."""
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    side = float((high - low).max()) * 1.22 * rng.normal(1, 0.05)
    centre = (low + high) / 2 - (0, 0.07 * side) + rng.normal(0, 0.04 * side, 2)
    start = np.clip(np.round(centre - side / 2), 0, size - 16).astype(int)
    end = np.clip(np.round(centre + side / 2), start + 16, size).astype(int)
    (left, top), (width, height) = start, end - start
    return int(left), int(top), int(width), int(height)


def _to_csv(rows: list[_Row]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in rows:
        landmarks = ";".join(f"{value:.2f}" for value in row.landmarks.ravel())
        table.writerow([row.path, *row.box, landmarks, row.code, *row.valence_arousal])
    return text.getvalue()


def _write_npy(path: Path, code: int, valence: float, arousal: float, landmarks: np.ndarray) -> None:
    """Store annotations as the release does: numbers as 0-d arrays of text."""
    folder = path.parent.parent / "annotations"
    values = {
        "exp": np.array(str(code)), "val": np.array(str(valence)), "aro": np.array(str(arousal)),
        "lnd": landmarks.ravel().astype(np.float64),
    }  # fmt: skip
    for kind, value in values.items():
        write_array(folder / f"{path.stem}_{kind}.npy", value)
