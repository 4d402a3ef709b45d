"""The run of the end-to-end baseline that the stage 2 ablation's table includes, if it has the same data."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from affect.errors import UserError
from affect.storage.fingerprint import file_digest, sizes_digest
from affect.storage.json_file import read_json
from datamodules.aff_wild2 import LISTS, image_folder
from experiments.mtl.config import MtlConfig
from experiments.runtime.config.options import iterate_options, option_value
from experiments.runtime.config.words_and_recipes import read_recipe

LIMITS: Final = ("max_epochs", "limit_train_batches", "limit_val_batches")


@dataclass(frozen=True)
class BaselineRun:
    """A run of the baseline.

    Attributes:
        folder: Its folder.
        metrics: Its metrics; empty if it does not fit.
    """

    folder: Path
    metrics: Mapping[str, float] = field(default_factory=dict)


def identify_data(root: str | Path, names: Sequence[str]) -> dict[str, Any]:
    """Identify s-Aff-Wild2 by its content, independent of its path.

    Returns:
        `lists`, the SHA-256 of each list, and `images`, a digest of the names and sizes of the images `names`.
    """
    lists = {split: file_digest(Path(root) / name) for split, name in LISTS.items()}
    return {"lists": lists, "images": sizes_digest(image_folder(root), names)}


def find_baseline(config: MtlConfig, data: Mapping[str, Any], schema: type) -> tuple[BaselineRun, str]:
    """Return the latest run of the baseline if it was made from the same data with the same settings.

    `data` is what `identify_data` returned for the ablation, `schema` the dataclass with the options of the baseline.

    Returns:
        The run, and the reason why its metrics are not used; empty if they are.
    """
    folder = Path(config.output_dir, "mtl_baseline", "latest")
    run = BaselineRun(folder.resolve() if folder.exists() else folder)
    if not (folder / "metrics.json").is_file():
        return run, f"there is no finished run {folder}; `make mtl-baseline` makes one"
    remedy = "run `make mtl-baseline` again"
    try:
        metrics = read_json(folder / "metrics.json", dict[str, float], remedy)
        provenance = read_json(folder / "provenance.json", dict[str, Any], remedy)
        options = {option.key: option for option in iterate_options(schema)}
        settings = read_recipe(options, folder / "config.yaml")
    except UserError as error:
        return run, str(error)
    differences = list(_differences(config, data, provenance, settings))
    if differences:
        return run, f"the run {run.folder} has {', '.join(differences)}; run `make mtl-baseline` again"
    return BaselineRun(run.folder, metrics), ""


def _differences(
    config: MtlConfig, data: Mapping[str, Any], provenance: Mapping[str, Any], settings: Mapping[str, Any]
) -> Iterator[str]:
    lists = provenance.get("lists")
    for split, digest in data["lists"].items():
        if not isinstance(lists, dict) or lists.get(split) != digest:
            yield f"another {LISTS[split]}"
    if provenance.get("images") != data["images"]:
        yield "other images"
    recipe = str(settings.get("recipe"))
    if recipe != config.recipe and not any(name.endswith((".yaml", ".yml")) for name in (recipe, config.recipe)):
        yield f"recipe {recipe} instead of {config.recipe}"
    if settings.get("seed") != config.seed:
        yield f"seed {settings.get('seed')} instead of {config.seed}"
    calibration = [option.key for option in iterate_options(MtlConfig) if option.key.startswith("calibration.")]
    if any(settings.get(key) != option_value(config, key) for key in calibration):
        yield "other calibration settings"
    for key in LIMITS:
        limit = settings.get(f"trainer.{key}")
        if limit is not None and limit != getattr(config.trainer, key):
            yield f"trainer.{key}={limit}"
