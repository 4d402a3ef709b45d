"""The W&B side of a run: whether there is one, online or offline, and where its files are."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal

import wandb

from affect.storage.atomic_write import write_text
from affect.storage.write_errors import storage_errors
from experiments.runtime.config.load import RunConfig, WandbConfig
from experiments.runtime.config.options import ConfigError
from experiments.runtime.run_folder import link

Mode = Literal["online", "offline", "disabled"]

INIT_TIMEOUT: Final = 30.0
"""Seconds that W&B's server may take to answer before a run starts."""


def choose_mode(settings: WandbConfig) -> tuple[Mode, str]:
    """Choose how W&B records a run.

    Returns:
        The mode, and why `auto` is offline although there is an API key; empty otherwise.

    Raises:
        ConfigError: If the mode is unknown, or `online` without a key that the server accepts.
    """
    os.environ.setdefault("WANDB_SILENT", "true")
    mode: Any = settings.mode
    automatic = mode == "auto"
    if automatic:
        mode = os.environ.get("WANDB_MODE") or "auto"
    if mode not in ("auto", "online", "offline", "disabled"):
        key = "the environment variable WANDB_MODE" if automatic else "wandb.mode"
        raise ConfigError(f"{key} must be auto, online, offline or disabled, not {mode!r}")
    if mode in ("offline", "disabled"):
        return mode, ""
    reason = ""
    try:
        if wandb.login(prompt=False):
            return "online", ""
    except Exception as error:  # a malformed or refused key, or whatever a network can do
        reason = str(error).rstrip(". ") or type(error).__name__
    if mode == "auto":
        return "offline", reason
    raise ConfigError(
        f"wandb.mode=online: {reason or 'there is no API key'}. Run `wandb login`, set WANDB_API_KEY, or give "
        "wandb.mode=offline and send the run later with `wandb sync`"
    )


def start_wandb(config: RunConfig, experiment: str, folder: Path, mode: Mode, may_go_offline: bool) -> Any:
    """Start the W&B run of a run folder, or continue it.

    Args:
        config: The run's configuration.
        experiment: Its experiment.
        folder: Its folder, which gets the W&B run's id, and a link to its files.
        mode: Online or offline.
        may_go_offline: Whether the run is recorded offline if the server does not answer.

    Returns:
        The W&B run; its `offline` attribute is the mode in effect.

    Raises:
        ConfigError: If the server does not answer and the run may not be recorded offline.
        StorageError: If W&B's folder cannot be written.
    """
    # All runs lie in one W&B folder, so that one command browses them; each run folder links to its own.
    shared = Path(config.output_dir) / "wandb"
    with storage_errors(shared):
        shared.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("WANDB_DATA_DIR", str(shared.resolve()))
    identity = folder / "wandb_id"
    arguments: dict[str, Any] = {
        "id": identity.read_text(encoding="utf-8") if identity.is_file() else None, "resume": "allow",
        "name": folder.name, "dir": config.output_dir, "project": config.wandb.project,
        "entity": config.wandb.entity, "group": experiment, "job_type": experiment, "config": asdict(config),
        "settings": wandb.Settings(init_timeout=INIT_TIMEOUT),
    }  # fmt: skip
    # Started here because WandbLogger would start it with a deprecated setting, and W&B warn of it.
    with storage_errors(shared):
        try:
            run = wandb.init(mode=mode, **arguments)
        except wandb.Error as error:
            if mode != "online":
                raise
            if not may_go_offline:
                reason = str(error).rstrip(". ")
                raise ConfigError(
                    f"wandb.mode=online: {reason}. Try again, or give wandb.mode=offline and send the run later "
                    "with `wandb sync`"
                ) from error
            run = wandb.init(mode="offline", **arguments)
    write_text(identity, run.id)
    link(folder / "wandb", Path(os.path.relpath(Path(run.dir).parent, folder)), folder)
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return run
