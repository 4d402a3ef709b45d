"""Upscale every image below a folder with Real-ESRGAN, into a folder that mirrors it.

    python -m experiments.upscaling source=FOLDER destination=FOLDER [recipe=demo] [key=value ...]

Stopped at any moment, the same command goes on where it was and ends with the same files.
"""

import logging
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytorch_lightning as pl
import torch
from omegaconf import MISSING
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console

from affect.super_resolution.batched import BatchedUpscaler, default_precision
from affect.super_resolution.lanczos import LanczosUpscaler
from affect.super_resolution.realesrgan_engine import RealESRGANUpscaler
from affect.super_resolution.releases import DEFAULT_CACHE, FACE_ENHANCERS, fetch
from affect.super_resolution.upscaler import Upscaler
from affect.super_resolution.weights import load_network
from affect.upscaled_tree import StaleTreeError, StorageError, UpscaledTree, read_manifest
from callbacks.image_progress import ImageProgressBar
from callbacks.image_writer import UpscaledImageWriter
from datamodules.image_tree import ImageTree, ImageTreeDataModule, scan_images
from experiments.config import TrainerConfig, option, parse_command_line, stop
from experiments.runner import build_trainer
from lightning_modules.upscaling import UpscalingModule


@dataclass
class UpscalingOptions:
    """How images are enlarged."""

    weights: str = option(
        "x4plus",
        "x4plus, x2plus, general-x4v3, animevideov3; packaged:x4plus or packaged:animevideov3; or a file",
    )
    engine: str = option(
        "batched", "batched (ours), realesrgan (the package, with face_enhancer), or lanczos (no network)"
    )
    outscale: float = option(
        2.0, "size of the result over that of the source; Lanczos from the network's scale"
    )
    precision: str = option("auto", "float32, float16, bfloat16 (batched only), or auto: float16 on CUDA")
    face_enhancer: str | None = option(None, "realesrgan only: gfpgan-v1.3, or a weights file of GFPGAN")
    tile: int = option(512, "largest side that is processed as a whole, pixels")
    tile_overlap: int = option(32, "context on each side of a tile, pixels")
    batch_size: int = option(16, "images per batch")
    num_workers: int = option(0, "processes that decode images; 0 decodes in the main one")
    rebuild: bool = option(False, "remove a destination made with other settings or from another source")
    cache_dir: str = option(str(DEFAULT_CACHE), "folder of downloaded weights")


@dataclass
class UpscalingConfig:
    """Everything that can be set."""

    recipe: str = option(MISSING, "name of the recipe, or a YAML file")
    source: str = option(MISSING, "folder with images at any depth (.jpg, .jpeg, .png)")
    destination: str = option(MISSING, "folder for the enlarged images; it must not lie within the source")
    upscaling: UpscalingOptions = field(default_factory=UpscalingOptions)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


def upscale_tree(
    source: str | Path, destination: str | Path, options: UpscalingOptions, trainer_config: TrainerConfig
) -> Path:
    """Enlarge every image of a tree; what is there already is kept.

    Args:
        source: Folder with images at any depth.
        destination: Folder for the results: same relative paths, and `manifest.json`.
        options: How.
        trainer_config: On what; mixed precision is not used here.

    Returns:
        The destination.

    Raises:
        FileNotFoundError: If there is no image, or the weights are not to be had.
        StaleTreeError: If the destination was made otherwise and `options.rebuild` is off.
        StorageError: If an image cannot be written, for instance because the disk is full.
        ValueError: If the options contradict each other, or one folder lies within the other.
    """
    tree = scan_images(source)
    destination = Path(destination).resolve()
    if destination == tree.root or tree.root in destination.parents or destination in tree.root.parents:
        raise ValueError(f"source {tree.root} and destination {destination} must not lie within each other")
    # The writer is added last: its tree is known only when the device, and so the precision, is.
    bar = [ImageProgressBar(options.batch_size)] if trainer_config.progress_bar else []
    trainer = build_trainer(
        replace(trainer_config, progress_bar=False),
        bar,
        enable_progress_bar=bool(bar),
        precision="32-true",
        logger=False,
        enable_checkpointing=False,
    )
    upscaler = build_upscaler(options, trainer.strategy.root_device.type)
    output = UpscaledTree(destination, upscaler.describe(), tree.digest, tree.names)
    if trainer.is_global_zero:
        output.open(options.rebuild)
    if is_complete(output):
        return destination
    predict(trainer, upscaler, tree, output, options)
    return destination


def predict(
    trainer: pl.Trainer, upscaler: Upscaler, tree: ImageTree, output: UpscaledTree, options: UpscalingOptions
) -> None:
    """Run the pass over what is not finished."""
    known = output.known_unreadable()
    data = ImageTreeDataModule(
        tree,
        options.batch_size,
        options.num_workers,
        is_finished=lambda name: name in known or output.is_finished(name),
    )
    writer = UpscaledImageWriter(output, tree.rejected)
    trainer.callbacks.append(writer)  # type: ignore[attr-defined]
    warnings.filterwarnings("ignore", message="Couldn't infer the batch indices")  # nobody needs them
    trainer.predict(UpscalingModule(upscaler), datamodule=data, return_predictions=False)
    if writer.unreadable and trainer.is_global_zero:
        name, reason = writer.unreadable[0]
        Console(stderr=True).print(
            f"[yellow]{len(writer.unreadable)} files were left out, for example {name}: {reason} "
            f"(all are in {output.root}/manifest.json)[/]",
            soft_wrap=True,
        )


def is_complete(output: UpscaledTree) -> bool:
    """Tell whether a tree is finished and every image of it whole."""
    manifest = read_manifest(output.root)
    if manifest is None or not manifest["complete"]:
        return False
    known = output.known_unreadable()
    return all(name in known or output.is_finished(name) for name in output.names)


def build_upscaler(options: UpscalingOptions, device_type: str) -> Upscaler:
    """Build the engine that the options describe.

    Raises:
        FileNotFoundError: If weights are not to be had.
        ValueError: If an option is unknown or contradicts another.
    """
    if options.engine == "lanczos":
        return LanczosUpscaler(options.outscale)
    if options.engine not in ("batched", "realesrgan"):
        raise ValueError(f"engine must be batched, realesrgan or lanczos, not {options.engine!r}")
    network = load_network(options.weights, options.cache_dir)
    precision = default_precision(device_type) if options.precision == "auto" else options.precision
    if options.engine == "batched":
        if options.face_enhancer:
            raise ValueError("face_enhancer needs engine=realesrgan")
        return BatchedUpscaler(network, options.outscale, precision, options.tile, options.tile_overlap)
    if options.engine != "realesrgan":
        raise ValueError(f"engine must be batched, realesrgan or lanczos, not {options.engine!r}")
    if precision not in ("float32", "float16"):
        raise ValueError(f"engine=realesrgan computes in float32 or float16, not {precision}")
    enhancer = options.face_enhancer
    if enhancer in FACE_ENHANCERS:
        enhancer = str(fetch(FACE_ENHANCERS[enhancer], options.cache_dir))
    return RealESRGANUpscaler(
        network, options.outscale, precision == "float16", options.tile, options.tile_overlap, enhancer
    )


def main() -> None:
    """Run from the command line; what its user can mend ends it with a message."""
    config = parse_command_line(UpscalingConfig, "upscaling", "demo")
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
    if config.trainer.num_threads:
        torch.set_num_threads(config.trainer.num_threads)
    try:
        path = upscale_tree(config.source, config.destination, config.upscaling, config.trainer)
    except (FileNotFoundError, ModuleNotFoundError, StaleTreeError, StorageError, ValueError) as error:
        stop(str(error))
    if getattr(rank_zero_only, "rank", 0) == 0:
        Console().print(f"upscaled images are in {path}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
