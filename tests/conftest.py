"""Settings that keep tests quick and quiet, and tiny data sets in the official layouts."""

import os

# Before the libraries that read them are imported: threads that spin are slow beside a busy core.
os.environ["OMP_WAIT_POLICY"] = "passive"
os.environ["WANDB_MODE"] = "disabled"
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import csv
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

torch.set_num_threads(1)

SIZE = 32
CSV_COLUMNS = (
    "subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks", "expression",
    "valence", "arousal",
)  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Silence what a library says of another library."""
    config.addinivalue_line("filterwarnings", "ignore:.*LeafSpec.* is deprecated")


@dataclass(frozen=True)
class Face:
    """One annotated picture: its code colours it, so that a network can learn the class."""

    split: str
    identifier: int
    code: int
    valence: float
    arousal: float
    box: tuple[int, int, int, int] = (4, 4, 24, 24)

    def draw(self) -> np.ndarray:
        """Give BGR pixels, shape (SIZE, SIZE, 3): a hue for the code, a disc placed by valence and arousal, noise."""
        rng = np.random.default_rng(self.identifier)
        hsv = np.full((SIZE, SIZE, 3), (self.code * 16, 200, 160), np.uint8)
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
        centre = (int(16 + 8 * max(self.valence, -1)), int(16 - 8 * max(self.arousal, -1)))
        cv2.circle(image, centre, 4, (255, 255, 255), -1)
        noise = rng.integers(-12, 13, image.shape)
        return (image + noise).clip(0, 255).astype(np.uint8)


def affectnet_faces() -> list[Face]:
    """List 40 usable training faces (5 per class) and 16 for validation, with the rows that must be left out.

    Left out in each split: codes 8, 9, 10 and (csv layout only) a face without a box. In each split the first usable
    face has no valence and the second no arousal.
    """
    rng = np.random.default_rng(7)
    faces = []
    for split, per_class in (("train", 5), ("val", 2)):
        codes = [*np.tile(np.arange(8), per_class), 8, 9, 10]
        for number, code in enumerate(codes):
            valence, arousal = rng.uniform(-1, 1, 2).round(4)
            if number == 0:
                valence = -2.0
            if number == 1:
                arousal = -2.0
            faces.append(Face(split, len(faces), int(code), float(valence), float(arousal)))
        faces.append(Face(split, len(faces), 0, 0.0, 0.0, box=(-1, -1, -1, -1)))
    return faces


def write_jpeg(path: Path, pixels: np.ndarray) -> None:
    """Write BGR pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])


@pytest.fixture(scope="session")
def shared_affectnet_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set of affectnet_csv, drawn once: for reading only."""
    root = tmp_path_factory.mktemp("shared") / "affectnet_csv"
    rows: dict[str, list[tuple]] = {"train": [], "val": []}
    for face in affectnet_faces():
        name = f"{face.identifier % 3}/{face.identifier}.jpg"
        write_jpeg(root / "Manually_Annotated_Images" / name, face.draw())
        rows[face.split].append((name, *face.box, "1;2;3", face.code, face.valence, face.arousal))
    for split, file_name in (("train", "training.csv"), ("val", "validation.csv")):
        with (root / file_name).open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(CSV_COLUMNS)
            writer.writerows(rows[split])
    return root


@pytest.fixture
def affectnet_csv(shared_affectnet_csv: Path, tmp_path: Path) -> Path:
    """AffectNet's first layout: `Manually_Annotated_Images`, `training.csv`, `validation.csv` (see affectnet_faces)."""
    return Path(shutil.copytree(shared_affectnet_csv, tmp_path / "affectnet_csv"))


@pytest.fixture
def affectnet_npy(tmp_path: Path) -> Path:
    """AffectNet's 2021 layout: `train_set` and `val_set` with `images` and `annotations` (see affectnet_faces)."""
    root = tmp_path / "affectnet_npy"
    for face in affectnet_faces():
        if face.box[0] < 0:
            continue
        folder = root / f"{face.split}_set"
        write_jpeg(folder / "images" / f"{face.identifier}.jpg", face.draw())
        (folder / "annotations").mkdir(exist_ok=True)
        # The release stores numbers as text; some copies hold 0-d arrays.
        as_text = face.identifier % 2
        for kind, value in (("exp", face.code), ("val", face.valence), ("aro", face.arousal)):
            np.save(
                folder / "annotations" / f"{face.identifier}_{kind}.npy",
                np.array(str(value) if as_text else value),
            )
        np.save(folder / "annotations" / f"{face.identifier}_lnd.npy", np.zeros(136))
    return root


@pytest.fixture
def tiny_architecture() -> str:
    """A timm network of 0.4 M parameters with BatchNorm, used without its weights."""
    return "test_efficientnet.r160_in1k"


@pytest.fixture(autouse=True)
def _leave_the_process_as_it_was() -> Iterator[None]:
    """Undo what runs change for the whole process: environment, random state, threads."""
    environment = dict(os.environ)
    random_state = torch.get_rng_state()
    numpy_state = np.random.get_state()  # noqa: NPY002 - the global state is what libraries change
    yield
    torch.set_rng_state(random_state)
    np.random.set_state(numpy_state)  # noqa: NPY002
    torch.set_num_threads(1)
    os.environ.clear()
    os.environ.update(environment)
