"""Options of prediction."""

from dataclasses import asdict, dataclass, field

from affect.faces.tracking import TrackingRules
from affect.networks.engines import ENGINES, PRECISIONS
from experiments.runtime.config.options import REQUIRED, option


@dataclass
class FacesConfig:
    """Which faces are looked for, and what the network sees of them."""

    min_face: int = option(
        40, "side of the smallest face that is found, in pixels; half as large takes four times as long", ge=12, le=4096
    )
    min_confidence: float = option(0.9, "detections of a lower confidence are left out", ge=0, le=1)
    margin: float = option(0.0, "margin around the detected box on each side, as a share of its side", ge=0, le=2)
    square: bool = option(True, "widen the box to a square, as AffectNet's are; false: stretch the face")


@dataclass
class TrackingConfig:
    """Which faces of a video are one person's."""

    min_overlap: float = option(0.3, "least intersection over union with a person's last box", ge=0, le=1)
    max_gap: int = option(
        15, "number of frames for which a person may be missed and is still found by overlap", ge=0, le=100_000
    )
    same: float = option(
        3.0, "largest distance in appearance, as a multiple of the usual one between overlapping faces", ge=0, le=1000
    )
    cut: float = option(
        20.0, "mean difference of two frames, in grey levels, from which the scene is another", ge=0, le=256
    )
    remembered: int = option(100, "largest number of persons that are remembered", ge=1, le=10_000)

    def rules(self) -> TrackingRules:
        """Return the tracker's rules."""
        return TrackingRules(**asdict(self))


@dataclass
class NetworkConfig:
    """Where and by what the networks are computed."""

    device: str = option(
        "auto", "kind of processor that computes; auto: a GPU if there is one", choices=("auto", "cpu", "cuda")
    )
    engine: str = option(
        "auto",
        "program that runs the encoder on a CPU: torch (PyTorch), onnx (ONNX Runtime) or openvino; auto: the fastest "
        "that is installed and agrees with PyTorch to 1e-4, for few images torch",
        choices=("auto", *ENGINES),
    )
    precision: str = option(
        "float32", "number format of the encoder on a CPU; bfloat16 changes features by about 1 %", choices=PRECISIONS
    )
    cache_dir: str = option(".cache/features/onnx", "folder of exported encoders", path=True)


@dataclass
class PredictConfig:
    """Options of the command."""

    source: str = option(
        REQUIRED,
        "a photograph, a folder with photographs at any depth, a video file, or a camera (camera:0)",
        path=True,
    )
    backbone: str | None = option(
        None,
        "network of stage 1: a run folder, a backbone file or a published name; null: that of the heads, or the latest",
        path=True,
    )
    heads: str | None = option(
        None, "run folder of stage 2, whose heads and calibrator predict, with action units; null: none", path=True
    )
    every: int = option(1, "look at every so many frames of a video", ge=1)
    annotate: bool = option(True, "write the pictures or the video with boxes and predictions")
    figures: int = option(
        8, "number of persons of a video, those seen longest, that figures are drawn of", ge=0, le=100
    )
    faces: FacesConfig = field(default_factory=FacesConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    num_threads: int | None = option(None, "number of CPU threads; null: PyTorch's choice", ge=1, le=1024)
    progress_bar: bool = option(True, "show a progress bar with frames per second and time left")
    output_dir: str = option("runs", "folder in which run folders are created", path=True)
    resume: str | None = option(None, "run folder to continue, or latest", path=True)
