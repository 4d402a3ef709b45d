"""Features of a frozen backbone for every listed image, extracted once and stored."""

import contextlib
import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch.distributed as dist
from torch import Tensor

from affect.networks.backbone import channels_last
from affect.networks.backbone_file import load_backbone
from affect.networks.engines import open_engine
from affect.networks.head_file import HeadsSpec
from affect.storage.atomic_write import write_text
from affect.storage.feature_store import FeatureStore, FeatureStoreError, StorePlan
from affect.storage.feature_store_writer import FeatureStoreWriter, lock_path, remove_leftovers
from affect.storage.fingerprint import content_digest, file_digest
from affect.storage.locks import exclusive_lock
from callbacks.feature_prediction_writer import FeaturePredictionWriter
from callbacks.image_progress import ImageProgressBar
from datamodules.aff_wild2 import image_folder
from datamodules.frame_chunks import ABSENT, FrameChunksDataModule
from datamodules.frame_survey import FrameSurvey, survey_frames
from datamodules.images.dataset import UnreadableImageError
from experiments.mtl.config import DataConfig, FeaturesConfig, HeadsConfig
from experiments.runtime.config.load import TrainerConfig
from experiments.runtime.config.options import ConfigError
from experiments.runtime.demo_set import warn_of_drawn_backbone
from experiments.runtime.reports.messages import is_rank_zero
from experiments.runtime.trainer import build_trainer
from lightning_modules.feature_extraction import FeatureExtraction

_log = logging.getLogger(__name__)


def leave_process_group() -> bool:
    """Destroy the process group, which only extraction needs, and return whether this is rank 0.

    Rank 0 alone continues with what takes seconds; in the group its metrics would wait for processes that have ended.
    """
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
    return is_rank_zero()


def _broadcast(answer: bool) -> bool:
    """Return rank 0's answer in every process; without a process group, the process's own."""
    if not (dist.is_available() and dist.is_initialized()):
        return answer
    answers = [answer]
    dist.broadcast_object_list(answers, src=0)
    return answers[0]


class FeatureExtractor:
    """Return the features of image lists, from their store or by extracting them.

    Args:
        backbone: Backbone file of stage 1.
        data: Where the images are and how many may be missing.
        features: How features are extracted and kept.
        trainer: Devices and precision.
        report_folder: Folder of the lists of missing images, `missing_<split>.txt`.

    Attributes:
        spec: Input size, statistics and outputs of the backbone.
        digest: SHA-256 of the backbone file.
    """

    def __init__(
        self,
        backbone: str,
        data: DataConfig,
        features: FeaturesConfig,
        trainer: TrainerConfig,
        report_folder: Path,
    ) -> None:
        self.trainer = trainer
        self.report_folder = report_folder
        self.data = data
        self.features = features
        self.backbone, self.spec = load_backbone(backbone)
        self.digest = file_digest(backbone)
        warn_of_drawn_backbone(backbone, self.spec.notes.get("recipe"), data.root)

    @property
    def num_features(self) -> int:
        """Width of the pooled features."""
        return self.backbone.num_features

    @property
    def num_outputs(self) -> int:
        """Width of the backbone's outputs, which follow the features."""
        return self.backbone.num_outputs

    def heads_spec(self, heads: HeadsConfig) -> HeadsSpec:
        """Describe heads on these features."""
        return HeadsSpec(
            heads.network, heads.inputs, self.num_features, self.num_outputs, heads.num_hidden, self.digest
        )

    def store(self, split: str, names: Sequence[str]) -> FeatureStore:
        """Open the store of a list of images, extracting what is missing first.

        Args:
            split: Name of the list, for the store's folder and messages.
            names: Image ids; duplicates are extracted once.

        Raises:
            UnreadableImageError: If more images than `data.max_missing` are missing or unreadable, or the system does
                not give one.
            StorageError: If the store cannot be written.
            FeatureStoreError: If images changed during extraction, or another run extracts them in the meantime.
            AnnotationError: If the image folder is missing.
        """
        folder = image_folder(self.data.root)
        unique = list(dict.fromkeys(names))
        survey = survey_frames(folder, unique)
        self._check_missing(split, len(unique), dict.fromkeys(survey.missing, "no such file"))
        plan = StorePlan(
            names=unique,
            columns={"features": self.num_features, "outputs": self.num_outputs},
            sources={
                "backbone": self.digest,
                "transform": self._transform(),
                "images": survey.digest,
                "precision": self._precision,
            },
            dtype=self.features.dtype,
            chunk_rows=self.features.batch_size,
        )
        store = self._open_or_extract(FeatureStoreWriter(self._store_path(split), plan), split, survey)
        if store.missing:
            message, listed = self._check_missing(split, len(unique), store.missing)
            _log.warning("%s, for example %s", message, listed[0])
        return store

    def _open_or_extract(self, writer: FeatureStoreWriter, split: str, survey: FrameSurvey) -> FeatureStore:
        path, plan = writer.path, writer.plan
        store = self._opened(path, plan, split, survey)
        if not _broadcast(store is not None):
            with self._locked(writer, split) if is_rank_zero() else contextlib.nullcontext():
                store = self._opened(path, plan, split, survey, explain=True) if is_rank_zero() else None
                if not _broadcast(store is not None):
                    _log.info("%s: extracting features of %d images", split, len(plan.names))
                    self._extract(writer, survey)
        if is_rank_zero():
            remove_leftovers(path)
        return store or FeatureStore.open(path, plan, check_content=False)

    def _opened(
        self, path: Path, plan: StorePlan, split: str, survey: FrameSurvey, explain: bool = False
    ) -> FeatureStore | None:
        """Open a store if it exists as planned, else return None; `explain` logs why an existing one is not used."""
        try:
            store = FeatureStore.open(path, plan)
            absent = {name for name, reason in store.missing.items() if reason == ABSENT}
            if returned := absent - set(survey.missing):  # by versions that took a file out of reach for none
                raise FeatureStoreError(
                    f"{path} lacks {len(returned)} images that are there, for example {min(returned)}"
                )
        except FeatureStoreError as reason:
            if explain and path.exists():
                _log.info("%s", reason)
            return None
        _log.info("%s: features of %d images from %s", split, len(plan.names), path)
        return store

    def _locked(self, writer: FeatureStoreWriter, split: str) -> contextlib.AbstractContextManager[None]:
        """Wait for another run that writes this store; not in a run of several processes, which would time out."""

        def on_wait() -> None:
            if self.trainer.devices != "1" or self.trainer.num_nodes > 1:
                raise FeatureStoreError(f"another run is writing {writer.path}; start again when it has ended")
            _log.info("%s: waiting for another run that writes %s", split, writer.path)

        return exclusive_lock(lock_path(writer.path), on_wait)

    def _extract(self, writer: FeatureStoreWriter, survey: FrameSurvey) -> None:
        data = FrameChunksDataModule(
            survey, writer, self.spec.image_size, self.spec.mean, self.spec.std, self.data.num_workers
        )
        bar = ImageProgressBar(self.features.batch_size, len(writer.plan.names))
        trainer = build_trainer(
            self.trainer, [FeaturePredictionWriter(writer), bar], logger=False, enable_checkpointing=False
        )
        on_cpu = trainer.strategy.root_device.type == "cpu"
        if not on_cpu and self.features.precision != "float32":
            raise ConfigError("features.precision is that of a CPU; on a GPU set trainer.precision=bf16-mixed")
        engine = self._cpu_engine(len(writer.plan.names)) if on_cpu else None
        module = FeatureExtraction(channels_last(self.backbone), engine)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*infer the batch indices.*")  # a batch knows its chunk
            trainer.predict(module, data, return_predictions=False)
        trainer.strategy.barrier("features extracted")
        changed = survey.changed_rows() if is_rank_zero() else np.empty(0, np.int64)
        if _broadcast(bool(len(changed))):
            if is_rank_zero():
                writer.discard(changed)
            example = f": {len(changed)}, for example {writer.plan.names[changed[0]]}" if len(changed) else ""
            raise FeatureStoreError(
                f"images changed while {writer.path} was extracted{example}. Leave them as they are until the run has "
                "ended, and run the same command again to continue"
            )
        if is_rank_zero():
            writer.merge()
        trainer.strategy.barrier("features merged")

    def _cpu_engine(self, num_images: int) -> Callable[[Tensor], Tensor]:
        """Open the engine that runs the encoder on a CPU."""
        engine = open_engine(
            self.backbone, self.spec.image_size, Path(self.features.cache_dir, "onnx"),
            self.features.engine, self.features.precision, num_images, _log.info,
        )  # fmt: skip
        _log.info("engine %s in %s", engine.name, engine.precision)
        return engine

    def _store_path(self, split: str) -> Path:
        """Keep stores of different sets, backbones and number formats apart, so that going back to one finds it."""
        root = content_digest([str(Path(self.data.root).resolve()).encode()])
        name = f"{Path(self.data.root).resolve().name}-{root[:8]}"
        made = f"{self.digest[:12]}-{self.features.dtype}-{self._precision}"
        return Path(self.features.cache_dir, name, made, split)

    @property
    def _precision(self) -> str:
        """Number format that features are computed in, as stores record it; engines of one precision are equal."""
        return self.trainer.precision if self.features.precision == "float32" else self.features.precision

    def _transform(self) -> dict[str, object]:
        spec = self.spec
        return {
            "size": spec.image_size,
            "orientation": "upright",
            "transparency": "on white",
            "resize": "antialiased bilinear",
            "mean": list(spec.mean),
            "std": list(spec.std),
        }

    def _check_missing(self, split: str, total: int, missing: dict[str, str]) -> tuple[str, list[str]]:
        """List missing images in the run folder; raise if there are more than allowed."""
        listed = [f"{name}: {reason}" for name, reason in missing.items()]
        if missing and is_rank_zero():
            write_text(self.report_folder / f"missing_{split}.txt", "\n".join(listed) + "\n")
        message = f"{len(missing)} of {total} images of the {split} list are missing or unreadable"
        if len(missing) > self.data.max_missing:
            shown = "\n".join(listed[:10])
            remedy = f"Unpack the images again, or allow so many with data.max_missing={len(missing)}"
            if 2 * len(missing) > total:
                remedy = f"Is the set unpacked in {image_folder(self.data.root)}, and is that the right folder?"
            raise UnreadableImageError(
                f"{message}:\n{shown}\nAll are listed in {self.report_folder / f'missing_{split}.txt'}. {remedy}"
            )
        return message, listed
