"""Films of squares that a stub detector takes for faces, so that persons and pictures are known."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

import experiments.predict.recognizer
from affect.calibration.calibrator import Calibrator
from affect.calibration.smoothing import Smoothing
from affect.faces.detection import Detections
from affect.networks.backbone_file import load_backbone
from affect.networks.head_file import HeadsSpec, save_heads
from affect.networks.heads import create_heads
from affect.storage.fingerprint import file_digest
from experiments.predict.config import NetworkConfig, PredictConfig

COLOURS = np.array([[250, 20, 20], [20, 250, 20], [20, 20, 250]])
"""Of the persons 1, 2 and 3."""


class SquareDetector:
    """Finds coloured squares."""

    def __init__(self, *options: object) -> None:
        pass

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        return [self._find(image) for image in images]

    def _find(self, image: NDArray[np.uint8]) -> Detections:
        boxes = []
        for colour in COLOURS:
            rows, columns = np.nonzero((np.abs(image.astype(int) - colour) < 90).all(2))
            if len(rows) > 50:
                boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        return Detections(
            np.array(boxes, np.float32).reshape(-1, 4), np.linspace(0.99, 0.9, len(boxes), dtype=np.float32)
        )


@pytest.fixture
def squares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments.predict.recognizer, "MtcnnDetector", SquareDetector)


def draw(number: int, persons: Sequence[int]) -> NDArray[np.uint8]:
    """Draw squares with stripes that change from picture to picture, on a grey ground."""
    image = np.full((96, 160, 3), 128, np.uint8)
    for person in persons:
        left, top = 8 + 48 * (person - 1) + number % 7, 20 + number % 5
        image[top : top + 32, left : left + 32] = COLOURS[person - 1]
        image[top + number % 16 : top + number % 16 + 4, left + 4 : left + 28] = COLOURS[person - 1] // 2 + 60
    return image


def persons_of(number: int) -> list[int]:
    """Return who is in a picture of the film: 1 always but in every tenth, 2 from the sixth, 3 now and then."""
    return [1] * (number % 10 != 9) + [2] * (number > 5 and number % 10 != 9) + [3] * (number % 8 in (5, 6))


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A film of 50 pictures, 40 or 60 ms apart."""
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=20)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "bgr0"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(50):
            picture = av.VideoFrame.from_ndarray(draw(number, persons_of(number)), format="rgb24")
            picture.pts, picture.time_base = time_of(number), Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def time_of(number: int) -> int:
    """Return a picture's time in milliseconds."""
    return 50 * number + 10 * (number % 2)


@pytest.fixture
def config(squares: None, film: Path, tiny_backbone: Path, tmp_path: Path) -> PredictConfig:
    return PredictConfig(
        str(film), str(tiny_backbone), figures=0, progress_bar=False, network=NetworkConfig("cpu", "torch"),
        output_dir=str(tmp_path / "runs"),
    )  # fmt: skip


@pytest.fixture
def heads_run(tiny_backbone: Path, tmp_path: Path) -> Path:
    """A run of stage 2 on the tiny backbone: heads by chance, and a calibrator that smooths, biases and decides."""
    backbone, _ = load_backbone(tiny_backbone)
    folder = tmp_path / "runs" / "mtl" / "2026-01-01_00-00-00"
    folder.mkdir(parents=True)
    spec = HeadsSpec("slice", "both", backbone.num_features, 10, 8, file_digest(tiny_backbone))
    save_heads(folder / "heads.safetensors", create_heads(*[getattr(spec, name) for name in (
        "network", "inputs", "num_features", "num_outputs", "num_hidden")]), spec)  # fmt: skip
    smoothing = {
        "valence_arousal": Smoothing(7, sigma=20),
        "expression": Smoothing(3, "box"),
        "action_units": Smoothing(12),
    }
    Calibrator(smoothing, (0.0, 1.0, *[0.0] * 6), (0.4, 0.6) * 6).save(folder / "calibrator.json")
    (folder / "config.yaml").write_text(f"backbone: {tiny_backbone}\n")
    return folder
