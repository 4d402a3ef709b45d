"""Faces of pictures with their expressions, from Python in three lines.

    recognizer = Recognizer.load("runs/pretrain/latest")
    for face in recognizer(image):  # an RGB array, or the path of a photograph
        print(face.box, face.expression, face.valence, face.arousal)

Nothing is written.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from affect.calibration.calibrator import Calibrator
from affect.errors import InvalidOptionError, MissingFileError
from affect.faces.boxes import crop_boxes
from affect.faces.detection import Detector
from affect.faces.mtcnn import MtcnnDetector
from affect.networks.backbone import Backbone, channels_last
from affect.networks.backbone_file import BackboneSpec, load_backbone
from affect.networks.engines import Engine, open_engine
from affect.networks.head_file import load_heads
from affect.networks.heads import HeadNetwork
from affect.tasks import TASKS, predictions
from datamodules.images.dataset import resize
from datamodules.images.decoding import crop, read_image
from datamodules.transforms import DeviceTransform
from experiments.predict.faces import Face, Faces, Predictions
from experiments.runtime.backbone_choice import find_backbone, resolve_backbone
from experiments.runtime.config.words_and_recipes import read_saved_text

LATEST: Final = "runs/pretrain/latest"
SECOND_STREAM: Final = "stream_heads.safetensors"


class Recognizer:
    """Find the faces of pictures and predict what they show.

    Args:
        backbone: Network from crops to features and outputs, moved to the device of its engine.
        engine: Runs its encoder.
        spec: Its inputs and outputs, by which it is used: any names of expressions will do.
        detector: Finds the faces.
        heads: Heads of stage 2 on the backbone; they replace its outputs and add action units.
        calibrator: Smoothing, bias and thresholds for the heads' predictions.
        margin: Added to the detected box on each side, as a share of its side.
        square: Widen the box to a square, as AffectNet's are.
        path: File of the backbone, for the record.

    Attributes:
        labels: Names of the columns of each task's predictions.
        calibrator: As given; without heads it changes nothing.
        device: Where the networks compute.
    """

    def __init__(
        self,
        backbone: Backbone,
        engine: Engine,
        spec: BackboneSpec,
        detector: Detector,
        heads: HeadNetwork | None = None,
        calibrator: Calibrator | None = None,
        *,
        margin: float = 0.0,
        square: bool = True,
        path: str = "",
    ) -> None:
        self.engine, self.spec, self.path = engine, spec, path
        self.detector = detector
        self.calibrator = calibrator or Calibrator()
        self.labels: Mapping[str, tuple[str, ...]] = _labels(spec, heads)
        self.margin, self.square = margin, square
        self.device = next(backbone.parameters()).device
        self._backbone = backbone
        self._heads = heads.eval().requires_grad_(False).to(self.device) if heads else None
        self._normalise = DeviceTransform(spec.mean, spec.std)

    @classmethod
    def load(
        cls,
        backbone: str | None = None,
        heads: str | None = None,
        *,
        min_face: int = 40,
        min_confidence: float = 0.9,
        margin: float = 0.0,
        square: bool = True,
        device: str = "auto",
        engine: str = "torch",
        precision: str = "float32",
        cache_dir: str = ".cache/features/onnx",
        num_images: int | None = None,
        on_message: Callable[[str], None] = lambda message: None,
    ) -> "Recognizer":
        """Load networks from their files.

        Args:
            backbone: A run of stage 1, a backbone file or the name of a published network; None for
                that of the heads, or of the latest run of stage 1.
            heads: A run of stage 2, for action units and its other heads and calibrator; None for none.
            min_face: Side of the smallest face to look for, in pixels.
            min_confidence: Detections of a lower confidence are left out.
            margin: As of the class.
            square: As of the class.
            device: `cpu`, `cuda`, or `auto`: a GPU if there is one.
            engine: As in `open_engine`; engines other than `torch` write an exported encoder to `cache_dir`.
            precision: As in `open_engine`.
            cache_dir: As in `open_engine`.
            num_images: As in `open_engine`.
            on_message: As in `open_engine`.

        Raises:
            MissingFileError: If a file, or the detector's package, is missing.
            InvalidFileError: If a file is damaged.
            ConfigError: If the heads belong to another backbone.
            InvalidOptionError: If the heads cannot be used for pictures alone.
        """
        network, calibrator = None, None
        if heads is not None:
            folder = Path(heads).resolve()
            network, calibrator, digest = _load_heads(folder)
            wanted = backbone or read_saved_text(folder / "config.yaml", "backbone") or ""
            backbone = find_backbone(wanted, digest, folder)
        chosen = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        detector = MtcnnDetector(min_face, min_confidence, chosen)
        path = resolve_backbone(backbone or LATEST)
        loaded, spec = load_backbone(path)
        loaded = channels_last(loaded.requires_grad_(False)).to(chosen)
        opened = open_engine(loaded, spec.image_size, cache_dir, engine, precision, num_images, on_message)
        return cls(loaded, opened, spec, detector, network, calibrator, margin=margin, square=square, path=path)

    def __call__(self, image: NDArray[np.uint8] | str | Path) -> list[Face]:
        """Find and judge the faces of one picture.

        Args:
            image: RGB values, upright, shape (H, W, 3), uint8; or the path of a photograph.

        Returns:
            The faces, the most confident detection first; empty without any.

        Raises:
            ValueError: If the array has another shape or type.
            UnreadableImageError: If the photograph cannot be read.
        """
        if isinstance(image, str | Path):
            image = read_image(image)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"expected uint8 RGB of shape (H, W, 3), got {image.dtype} {image.shape}")
        (faces,) = self.recognize([image])
        # Each face is a video of one frame: nothing to smooth, the bias applies.
        alone = np.arange(len(faces))
        treated = self.calibrator.apply(faces.predictions, alone, np.zeros_like(alone))
        return [self._face(faces, treated, row) for row in range(len(faces))]

    @torch.inference_mode()
    def recognize(self, images: Sequence[NDArray[np.uint8]]) -> list[Faces]:
        """Find the faces of several pictures, RGB (H, W, 3), and predict, without smoothing and decisions."""
        found = self.detector(images)
        crops = [crop_boxes(faces.boxes, self.margin, self.square) for faces in found]
        cut = [
            resize(np.ascontiguousarray(crop(image, box, "picture")), self.spec.image_size)
            for image, boxes in zip(images, crops, strict=True)
            for box in boxes
        ]
        features, preds = self._predict(cut)
        edges = [0, *itertools.accumulate(len(faces) for faces in found)]
        return [
            Faces(
                faces.boxes, faces.confidence, boxes, features[start:stop],
                {task: values[start:stop] for task, values in preds.items()},
            )
            for faces, boxes, (start, stop) in zip(found, crops, itertools.pairwise(edges), strict=True)
        ]  # fmt: skip

    def _predict(self, cut: list[NDArray[np.uint8]]) -> tuple[NDArray[np.float32], Predictions]:
        if not cut:
            widths = {task: len(names) for task, names in self.labels.items()}
            empty = np.empty((0, self._backbone.num_features), np.float32)
            return empty, {task: np.empty((0, width), np.float32) for task, width in widths.items()}
        pixels = torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).to(self.device)
        features = self.engine(self._normalise(pixels))
        outputs = self._backbone.classifier(features)
        preds = (
            predictions(self._heads(torch.cat([features, outputs], 1)))
            if self._heads
            else _outputs_by_task(outputs, len(self.spec.expressions))
        )
        return features.cpu().numpy(), {task: preds[task].float().cpu().numpy() for task in self.labels}

    def _face(self, faces: Faces, treated: Predictions, row: int) -> Face:
        named = {
            task: dict(zip(names, treated[task][row].tolist(), strict=True)) for task, names in self.labels.items()
        }
        probabilities, units = named.get("expression", {}), named.get("action_units", {})
        active = self.calibrator.decide(treated["action_units"])[row] if units else np.empty(0)
        left, top, width, height = faces.crops[row].tolist()
        return Face(
            (left, top, width, height),
            float(faces.confidence[row]),
            max(probabilities, key=probabilities.__getitem__) if probabilities else None,
            probabilities,
            named.get("valence_arousal", {}),
            units,
            tuple(name for name, on in zip(units, active, strict=True) if on),
        )


def _labels(spec: BackboneSpec, heads: HeadNetwork | None) -> dict[str, tuple[str, ...]]:
    if heads is not None:
        return {task: TASKS[task].outputs for task in ("expression", "valence_arousal", "action_units")}
    found = {"expression": tuple(spec.expressions), "valence_arousal": tuple(spec.outputs[len(spec.expressions) :])}
    return {task: names for task, names in found.items() if names}


def _outputs_by_task(outputs: Tensor, num_expressions: int) -> dict[str, Tensor]:
    return {
        "expression": outputs[:, :num_expressions].softmax(1),
        "valence_arousal": outputs[:, num_expressions:],
    }


def _load_heads(folder: Path) -> tuple[HeadNetwork, Calibrator, str]:
    """Load a run's heads, those for test predictions if it has them, its calibrator, and its backbone's digest."""
    if not (folder / "heads.safetensors").is_file():
        raise MissingFileError(
            f"{folder} is no finished run of stage 2: it has no heads.safetensors; `make mtl` makes one"
        )
    if (folder / SECOND_STREAM).is_file():
        raise InvalidOptionError(
            f"{folder} needs a second stream of features (stream.root), which pictures do not have; give a run without"
        )
    refit = folder / "heads_refit.safetensors"
    network, spec = load_heads(refit if refit.is_file() else folder / "heads.safetensors")
    return network, Calibrator.load(folder / "calibrator.json"), spec.features_from
