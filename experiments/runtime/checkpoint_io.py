"""Checkpoints, written within their folder and read with named errors."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from lightning_fabric.plugins.io import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback
from torch import nn

from affect.errors import InvalidFileError
from affect.storage.atomic_write import write_bytes

_REQUIRED: Final = ("state_dict", "optimizer_states", "loops", "epoch", "global_step", "callbacks")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name in its own folder, where Lightning writes to `$TMPDIR` first."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint atomically.

        Raises:
            StorageError: If it cannot be written.
        """
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_bytes(path, content.getbuffer())

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable | None = lambda storage, _: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint, tensors and plain values only.

        Raises:
            InvalidFileError: If it is damaged, holds code, or is no checkpoint.
        """
        try:
            checkpoint = torch.load(path, map_location=map_location, weights_only=True)
        except Exception as error:  # torch.load raises errors of many kinds for a damaged file
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise _damaged(path, f"it cannot be read: {reason}") from error
        if not isinstance(checkpoint, dict):
            raise _damaged(path, f"it holds a {type(checkpoint).__name__}, not a checkpoint")
        if missing := [key for key in _REQUIRED if key not in checkpoint]:
            raise _damaged(path, f"it has no {', '.join(missing)}")
        return checkpoint


def check_resumable(path: str | Path, module: nn.Module, callbacks: Sequence[Callback]) -> None:
    """Check before training that a checkpoint can be read, and has the weights of a module and the callbacks' states.

    Raises:
        InvalidFileError: If not; the message names the file and the reason.
    """
    checkpoint = AtomicCheckpointIO().load_checkpoint(path)
    for callback in callbacks:
        states = checkpoint["callbacks"]
        state = states.get(callback.state_key) if isinstance(states, dict) else None
        if not isinstance(state, dict) or callback.state_dict().keys() - state.keys():
            raise _damaged(path, f"it lacks the state of {callback.state_key}")
    found = checkpoint["state_dict"]
    expected = module.state_dict()
    if not isinstance(found, dict) or set(found) != set(expected):
        names = sorted(set(found) ^ set(expected)) if isinstance(found, dict) else ["state_dict"]
        raise _damaged(path, f"its weights are not those of this network, for example {names[0]}")
    for name, tensor in expected.items():
        if getattr(found[name], "shape", None) != tensor.shape:
            shape = tuple(getattr(found[name], "shape", ()))
            raise _damaged(path, f"{name} has shape {shape}, this network's has {tuple(tensor.shape)}")


def _damaged(path: str | Path, reason: str) -> InvalidFileError:
    return InvalidFileError(
        f"{path} is damaged, {reason}. Put back a copy of the file, or start a new run without resume="
    )
