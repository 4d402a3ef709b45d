"""Reads the weights in a file of any format: torch.save, Lightning, safetensors, ONNX."""

from pathlib import Path

from safetensors.torch import load_file

from affect.errors import InvalidFileError, MissingFileError
from affect.storage.checkpoints.onnx_file import read_onnx
from affect.storage.checkpoints.torch_file import TorchFile
from affect.storage.checkpoints.weights import Weights, weights_in


def read_weights(path: str | Path) -> Weights:
    """Read the weights in a file, without running anything in it.

    Args:
        path: A state dict under any of the usual keys, a Lightning checkpoint, a whole network saved with torch.save
            (zip or legacy format, from any device), safetensors, or ONNX (by its suffix).

    Returns:
        The weights, on the CPU.

    Raises:
        MissingFileError: If there is no such file.
        InvalidFileError: If it has another format, is truncated, or would run code or take more memory than its size;
            the message names what was refused.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"no weights file at {path}")
    try:
        with path.open("rb") as file:
            start = file.read(9)
            file.seek(0)
            if start[8:] == b"{" or path.suffix == ".safetensors":
                return Weights(load_file(path))
            if path.suffix == ".onnx":
                return read_onnx(path)
            if not start.startswith((b"PK\x03\x04", b"\x80")):
                raise InvalidFileError("it is neither a PyTorch file nor safetensors or ONNX")
            return weights_in(TorchFile(path, file))
    except MissingFileError:
        raise
    except InvalidFileError as error:
        raise InvalidFileError(f"{path} cannot be read as weights: {error}") from error
    except Exception as error:  # safetensors: OSError, SafetensorError, or KeyError for a type that PyTorch lacks
        raise InvalidFileError(f"{path} is no complete file of weights ({error!s:.200}); fetch it again") from error
