"""Settings that keep tests quick and quiet, and tiny data sets in the official layouts."""

import os

# Before the libraries that read them are imported: threads that spin are slow beside a busy core.
os.environ["OMP_WAIT_POLICY"] = "passive"
os.environ["WANDB_MODE"] = "disabled"
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["MT_EMOTIEFFNET_MIRROR"] = "http://127.0.0.1:9"  # published networks are not fetched in tests

import csv
import hashlib
import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.file_server import FileServer

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
        """Return BGR pixels, shape (SIZE, SIZE, 3): a hue for the code, a disc placed by valence and arousal, noise."""
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
def file_server() -> Iterator[FileServer]:
    """A web server of this machine; fill its `answers`."""
    server = FileServer()
    yield server
    server.close()


@pytest.fixture
def publish(file_server: FileServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that publishes what torch.save writes under a published name; the cache is empty."""
    from affect.networks.published import PUBLISHED

    monkeypatch.setenv("MT_EMOTIEFFNET_CACHE", str(tmp_path / "user cache"))
    monkeypatch.setenv("MT_EMOTIEFFNET_MIRROR", file_server.url)

    def put(name: str, content: Any, **changes: Any) -> None:
        file = io.BytesIO()
        torch.save(content, file)
        blob = file.getvalue()
        digest = hashlib.sha1(f"blob {len(blob)}\0".encode() + blob).hexdigest()
        monkeypatch.setitem(PUBLISHED, name, replace(PUBLISHED[name], git_digest=digest, **changes))
        file_server.answers[PUBLISHED[name].path] = blob

    return put


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


@dataclass(frozen=True)
class Frame:
    """One annotated frame of a video: valence shades it, arousal colours it, so that a network can learn both."""

    name: str
    valence: float
    arousal: float
    expression: int
    units: tuple[int, ...]

    def draw(self) -> np.ndarray:
        """Return BGR pixels, shape (SIZE, SIZE, 3)."""
        image = np.full((SIZE, SIZE, 3), 128 + 60 * self.valence, np.float32)
        image[..., 2] += 60 * self.arousal
        image[: SIZE // 2] += 8 * self.expression
        noise = np.random.default_rng(len(self.name) + int(1000 * self.valence) % 997).normal(0, 6, image.shape)
        return (image + noise).clip(0, 255).astype(np.uint8)

    def line(self) -> str:
        """Return the row of the official list."""
        return ",".join(map(str, (self.name, self.valence, self.arousal, self.expression, *self.units)))


def aff_wild2_frames() -> dict[str, list[Frame]]:
    """List 6 training, 4 validation and 2 test videos of 20 frames, every third frame number.

    Tasks are missing by video and frame; 14 training frames have no label at all.
    """
    rng = np.random.default_rng(3)
    frames: dict[str, list[Frame]] = {}
    for split, videos in (("train", range(6)), ("val", range(6, 10)), ("test", range(10, 12))):
        frames[split] = []
        for video in videos:
            phase = rng.uniform(0, 6, 2)
            for number in range(20):
                valence, arousal = np.sin(phase + number / 4).round(3).tolist()
                units = (np.array([valence, arousal] * 6) + rng.normal(0, 0.3, 12) > 0.3).astype(int).tolist()
                expression = int((valence + 1) * 3.99)
                if split == "train" and video % 3 == 0:
                    valence = arousal = -5
                if split != "test" and number % 3 == 1:
                    expression = -1
                if split == "train" and (video % 3 == 1 or (expression == -1 and valence == -5)):
                    units = [-1] * 12
                name = f"video{video}/{1 + 3 * number:05d}.jpg"
                frames[split].append(Frame(name, valence, arousal, expression, tuple(units)))
    return frames


@pytest.fixture
def aff_wild2(tmp_path: Path) -> Path:
    """s-Aff-Wild2's layout (see aff_wild2_frames); the test list repeats a row and names a frame that is absent."""
    root = tmp_path / "aff_wild2"
    header = "image,valence,arousal,expression,aus"
    frames = aff_wild2_frames()
    for split, rows in frames.items():
        for frame in rows:
            hidden = {"valence": 0.0, "arousal": 0.0} if frame.valence == -5 else {}
            write_jpeg(root / "cropped_aligned" / frame.name, replace(frame, **hidden).draw())
        list_name = {"train": "training", "val": "validation", "test": "test"}[split]
        lines = [header, *(frame.line() for frame in rows)]
        (root / f"{list_name}_set_annotations.txt").write_text("\n".join(lines) + "\n")
    names = [frame.name for frame in frames["test"]]
    names[5:5] = ["video10/00008.jpg", names[2]]
    (root / "MTL_Challenge_test_set_release.txt").write_text("\n".join([header, *names]) + "\n")
    return root


@pytest.fixture
def tiny_backbone(tmp_path: Path, tiny_architecture: str) -> Path:
    """A backbone file with 8 expressions, valence and arousal, for 32 px images, weights by chance."""
    from affect.labels import BACKBONE_EXPRESSIONS, VALENCE_AROUSAL
    from affect.networks.backbone import Backbone
    from affect.networks.backbone_file import BackboneSpec, save_backbone

    torch.manual_seed(0)
    backbone = Backbone(tiny_architecture, 10).train()
    with torch.no_grad():  # give BatchNorm statistics that let something through
        for _ in range(20):
            backbone(torch.randn(8, 3, SIZE, SIZE))
    outputs = (*BACKBONE_EXPRESSIONS, *VALENCE_AROUSAL)
    spec = BackboneSpec(
        tiny_architecture, SIZE, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), BACKBONE_EXPRESSIONS, outputs
    )
    path = tmp_path / "backbone.safetensors"
    save_backbone(path, backbone.eval(), spec)
    return path
