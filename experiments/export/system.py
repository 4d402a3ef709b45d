"""What is exported: a network alone, or with the heads and the calibrator of a run of stage 2."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from affect.calibration.calibrator import Calibrator
from affect.errors import MissingFileError
from affect.networks.backbone import Backbone
from affect.networks.backbone_file import BackboneSpec, load_backbone
from affect.networks.frame_network import FrameNetwork
from affect.networks.head_file import load_heads
from affect.networks.heads import HeadNetwork
from affect.storage.fingerprint import file_digest
from experiments.runtime.backbone_choice import BACKBONE_NAME, find_backbone, resolve_backbone
from experiments.runtime.config.options import ConfigError
from experiments.runtime.config.words_and_recipes import read_saved_text
from experiments.runtime.run_folder import FINISHED


@dataclass(frozen=True)
class System:
    """A network with what belongs to it.

    Attributes:
        backbone: The network.
        spec: Its inputs and outputs.
        run: Folder of the finished run that made it; None if unknown.
        files: Files that it was read from, by what they are.
        heads: Heads of stage 2; None for the network alone.
        calibrator: Bias, thresholds and smoothing of stage 2.
        left_out: What the run has and a graph of single frames has not.
    """

    backbone: Backbone
    spec: BackboneSpec
    run: Path | None
    files: Mapping[str, Path]
    heads: HeadNetwork | None = None
    calibrator: Calibrator = field(default_factory=Calibrator)
    left_out: tuple[str, ...] = ()

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of the files."""
        return {name: file_digest(path) for name, path in self.files.items()}

    @property
    def smoothing(self) -> dict[str, Any]:
        """Smoothing of the run by task, where there is any; it needs a video and is not in the graph."""
        return {task: asdict(smoothing) for task, smoothing in self.calibrator.smoothing.items() if smoothing.window}

    def network(self, takes_pixels: bool) -> FrameNetwork:
        """Build the network of single frames."""
        bias, thresholds = self.calibrator.log_bias, self.calibrator.thresholds
        return FrameNetwork(self.backbone, self.spec, self.heads, bias, thresholds, takes_pixels).eval()


def load_system(run: str | None, backbone: str | None) -> System:
    """Load what is to be exported.

    Args:
        run: Folder of a finished run of any stage.
        backbone: A backbone file, or what else `resolve_backbone` knows.

    Raises:
        ConfigError: If both or neither are given, or the run has not finished.
        MissingFileError: If a file is missing.
        InvalidFileError: If a file is damaged.
    """
    if (run is None) == (backbone is None):
        raise ConfigError("give run= (a run folder of any stage) or backbone= (a network), and not both")
    if backbone is not None:
        return _network(Path(resolve_backbone(backbone)))
    folder = Path(run or "").resolve()
    if not (folder / FINISHED).is_file():
        raise ConfigError(f"run={run}: no finished run, since it has no {FINISHED}")
    if (folder / "heads.safetensors").is_file():
        return _stage_2(folder)
    for name in (BACKBONE_NAME, "finetuned.safetensors"):
        if (folder / name).is_file():
            return _network(folder / name)
    raise MissingFileError(f"run={run}: the folder holds no network; name a run of stage 1, 2 or 3")


def _network(path: Path) -> System:
    backbone, spec = load_backbone(path)
    run = path.parent if (path.parent / FINISHED).is_file() else None
    blended = path.name != BACKBONE_NAME and path.with_name("blend.json").is_file()
    left_out = ("the pre-trained network that the run blends its scores with (blend.json)",) if blended else ()
    return System(backbone, spec, run, {"network": path}, left_out=left_out)


def _stage_2(folder: Path) -> System:
    refit = folder / "heads_refit.safetensors"
    files = {"heads": refit if refit.is_file() else folder / "heads.safetensors"}
    heads, heads_spec = load_heads(files["heads"])
    files["calibrator"] = folder / "calibrator.json"
    calibrator = Calibrator.load(files["calibrator"])
    wanted = read_saved_text(folder / "config.yaml", "backbone") or ""
    files["network"] = Path(find_backbone(wanted, heads_spec.features_from, folder))
    backbone, spec = load_backbone(files["network"])
    left_out = []
    if any(smoothing.window for smoothing in calibrator.smoothing.values()):
        left_out.append("smoothing over time")
    if (folder / "stream_heads.safetensors").is_file():
        left_out.append("the second stream of features")
    return System(backbone, spec, folder, files, heads, calibrator, tuple(left_out))
