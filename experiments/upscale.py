"""Upscale every image below a folder with Real-ESRGAN, into a folder that mirrors it.

    python -m experiments.upscale source=FOLDER destination=FOLDER [recipe=demo] [key=value ...]

Stopped at any moment, the same command continues and ends with the same files.
"""

if __name__ == "__main__":  # before torch is imported
    from experiments.runtime.process_settings import prepare_process

    prepare_process()

import logging
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch
from pytorch_lightning.accelerators import CUDAAccelerator

from affect.errors import InvalidOptionError
from affect.storage.image_suffixes import describe_ignored
from affect.storage.upscaled_tree import UpscaledTree
from affect.super_resolution.batched import PRECISIONS, BatchedUpscaler, default_precision
from affect.super_resolution.lanczos import LanczosUpscaler
from affect.super_resolution.load_network import load_network
from affect.super_resolution.realesrgan_engine import RealESRGANUpscaler
from affect.super_resolution.releases import DEFAULT_CACHE, FACE_ENHANCERS, fetch
from affect.super_resolution.upscaler import Upscaler
from callbacks.image_prediction_writer import ImagePredictionWriter
from callbacks.image_progress import ImageProgressBar
from datamodules.images.tree import ImageTree, ImageTreeDataModule, deep_images, scan_images
from experiments.runtime.command_line import run_experiment
from experiments.runtime.config.load import TrainerConfig
from experiments.runtime.config.options import REQUIRED, option
from experiments.runtime.trainer import build_trainer
from lightning_modules.upscaling import UpscalingModule

_log = logging.getLogger("experiments.upscale")

ENGINES: Final = ("batched", "realesrgan", "lanczos")
"""Programs that can enlarge images."""


@dataclass
class UpscalingOptions:
    """Options of upscaling."""

    weights: str = option(
        "x4plus",
        "weights of the network: x4plus, x2plus, general-x4v3 or animevideov3 (downloaded), packaged:x4plus or "
        "packaged:animevideov3 (from an installed package), or a file",
        path=True,
    )
    engine: str = option(
        "batched",
        "program that enlarges: batched (this suite's), realesrgan (the package, which can use face_enhancer), or "
        "lanczos (interpolation, no network)",
        choices=ENGINES,
    )
    outscale: float = option(
        2.0,
        "side of the result divided by that of the source; the network's picture is resized to it",
        gt=0,
        le=16,
    )
    precision: str = option(
        "auto", "number format of the network; bfloat16 with engine=batched only; auto: float16 on CUDA, else float32",
        choices=("auto", *PRECISIONS),
    )  # fmt: skip
    face_enhancer: str | None = option(
        None, "face restoration, with engine=realesrgan only: gfpgan-v1.3, or a weights file of GFPGAN; null: none",
        path=True,
    )  # fmt: skip
    tile: int = option(512, "largest side that is processed as a whole, in pixels", ge=16, le=8192)
    tile_overlap: int = option(32, "context on each side of a tile, in pixels", ge=0, le=1024)
    batch_size: int = option(16, "number of images per batch", ge=1)
    num_workers: int = option(0, "number of processes that decode images; 0: the main process does it", ge=0, le=1024)
    rebuild: bool = option(False, "replace a destination that was made with other settings or from another source")
    cache_dir: str = option(str(DEFAULT_CACHE), "folder of downloaded weights", path=True)


@dataclass
class UpscalingConfig:
    """Options of the command."""

    recipe: str = option(REQUIRED, "name of a recipe, or path of a YAML file with values of keys", path=True)
    source: str = option(REQUIRED, "folder with images at any depth; hidden files are passed over", path=True)
    destination: str = option(REQUIRED, "folder for the enlarged images, outside the source", path=True)
    upscaling: UpscalingOptions = field(default_factory=UpscalingOptions)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


def upscale_tree(
    source: str | Path | ImageTree,
    destination: str | Path,
    options: UpscalingOptions,
    trainer_config: TrainerConfig,
    upscaler: Upscaler | None = None,
) -> Path:
    """Enlarge every image of a tree; finished images are kept.

    Args:
        source: Folder with images at any depth, or its list.
        destination: Folder for the results: same relative paths, and `manifest.json`.
        options: Engine and settings.
        trainer_config: Devices to compute on; mixed precision is not used.
        upscaler: The engine, if it is built already from the same options.

    Returns:
        The destination.

    Raises:
        MissingFileError: If there is no image, or the weights cannot be found or fetched.
        StaleTreeError: If the destination was made otherwise and `options.rebuild` is off.
        StorageError: If a file cannot be written, for instance because the disk is full.
        UnreadableImageError: If a folder of the source cannot be listed.
        InvalidOptionError: If the options contradict each other, or one folder is within the other.
    """
    tree = source if isinstance(source, ImageTree) else scan_images(source)
    destination = Path(destination).resolve()
    for folder in (tree.root, *tree.linked):
        if destination == folder or folder in destination.parents or destination in folder.parents:
            link = "" if folder == tree.root else f" (by a link to {folder})"
            raise InvalidOptionError(
                f"source {tree.root}{link} and destination {destination} must not lie within each other"
            )
    if upscaler is None:
        upscaler = build_upscaler(options, trainer_config.accelerator)
    if tree.ignored:
        _log.warning(describe_ignored(tree.root, tree.ignored))
    output = UpscaledTree(destination, upscaler.describe(), tree.digest, tree.names)
    bar = ImageProgressBar(options.batch_size, len(tree.names))
    writer = ImagePredictionWriter(output, tree.rejected)
    trainer = build_trainer(
        trainer_config, [writer, bar],
        precision="32-true", logger=False, enable_checkpointing=False,
    )  # fmt: skip
    # Processes started by torchrun or SLURM do not wait for rank 0 here, but all decide alike: the decision depends on
    # the tree alone, which changes only in the pass that no process begins before all have arrived.
    if options.rebuild and (changes := output.differences()):
        _log.warning("the images in %s are replaced: %s", destination, "; ".join(changes))
    prepare = output.open if trainer.is_global_zero else output.check
    prepare(options.rebuild)
    if output.is_complete():
        if trainer.is_global_zero:
            _tell_left_out(output)
        return destination
    if trainer.is_global_zero:
        writer.reduced = deep_images(tree)
    left_out = output.known_unreadable()
    data = ImageTreeDataModule(
        tree,
        options.batch_size,
        options.num_workers,
        is_finished=lambda name: name in left_out or output.is_finished(name),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Couldn't infer the batch indices")  # they are not used
        trainer.predict(UpscalingModule(upscaler), data, return_predictions=False)
    if trainer.is_global_zero:
        _tell_left_out(output)
    return destination


def _tell_left_out(output: UpscaledTree) -> None:
    left_out, reduced = output.known_unreadable(), output.known_reduced()
    listed = f"(all are in {output.root}/manifest.json)"
    if left_out:
        name, reason = next(iter(left_out.items()))
        _log.warning("%d files were left out, for example %s: %s %s", len(left_out), name, reason, listed)
    if reduced:
        _log.warning(
            "%d images of over 8 bits were reduced to 8 bits, for example %s %s",
            len(reduced),
            reduced[0],
            listed,
        )


def build_upscaler(options: UpscalingOptions, accelerator: str) -> Upscaler:
    """Build the engine that the options describe; the precision `auto` depends on the Trainer's accelerator.

    Raises:
        MissingFileError: If weights cannot be found or fetched.
        InvalidOptionError: If an option is unknown or contradicts another.
    """
    if options.engine == "lanczos":
        return LanczosUpscaler(options.outscale)
    if options.engine not in ENGINES:
        raise InvalidOptionError(f"engine must be batched, realesrgan or lanczos, not {options.engine!r}")
    network = load_network(options.weights, options.cache_dir)
    on_cuda = accelerator in ("auto", "gpu", "cuda") and CUDAAccelerator.is_available()
    automatic = default_precision("cuda" if on_cuda else "cpu")
    precision = automatic if options.precision == "auto" else options.precision
    if options.engine == "batched":
        if options.face_enhancer:
            raise InvalidOptionError("face_enhancer needs engine=realesrgan")
        return BatchedUpscaler(network, options.outscale, precision, options.tile, options.tile_overlap)
    if precision not in ("float32", "float16"):
        raise InvalidOptionError(f"engine=realesrgan computes in float32 or float16, not {precision}")
    enhancer = options.face_enhancer
    if enhancer in FACE_ENHANCERS:
        enhancer = str(fetch(FACE_ENHANCERS[enhancer], options.cache_dir))
    return RealESRGANUpscaler(
        network, options.outscale, precision == "float16", options.tile, options.tile_overlap, enhancer
    )


def upscale(config: UpscalingConfig) -> None:
    """Run the command."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
    if config.trainer.num_threads:
        torch.set_num_threads(config.trainer.num_threads)
    path = upscale_tree(config.source, config.destination, config.upscaling, config.trainer)
    _log.info("upscaled images are in %s", path)


def main() -> None:
    """Run from the command line."""
    run_experiment(UpscalingConfig, "upscaling", upscale)


if __name__ == "__main__":
    main()
