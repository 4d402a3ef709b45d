"""Files of torch.save, in the zip format and in the one before PyTorch 1.6, read without running what is pickled."""

import io
import struct
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

import torch
from torch import Tensor

from affect.errors import InvalidFileError
from affect.storage.checkpoints.known_names import described_storage
from affect.storage.checkpoints.pickle_reader import read_pickle
from affect.storage.checkpoints.records import Name, Storage, StoredTensor

MAX_PICKLE: Final = 1 << 27
"""Largest pickle in a zip file, in bytes; weights are beside it."""
LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL: Final = 1001


class TorchFile:
    """The content of a file of torch.save, and its tensors on request.

    Args:
        path: The file.
        file: The same, open for reading; it stays the caller's.

    Attributes:
        content: What was saved; see `read_pickle`.

    Raises:
        InvalidFileError: If the file is damaged, of another format, compressed, or refused by `read_pickle`.
    """

    content: Any

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.size = path.stat().st_size
        self.file = file
        self.storages: dict[str, Storage] = {}
        self.positions: dict[str, int] = {}  # of legacy storages
        self.loaded: dict[str, Tensor] = {}
        self.num_loaded = 0
        self.archive: zipfile.ZipFile | None = None
        is_archive = file.read(4) == b"PK\x03\x04"
        file.seek(0)
        if is_archive:
            self._open_archive()
        else:
            self._read_legacy()

    def tensor(self, stored: StoredTensor) -> Tensor:
        """Read a tensor into memory, on the CPU; tensors of one storage share it.

        Raises:
            InvalidFileError: If its storage is damaged, or has been read in whole under many names.
        """
        storage = stored.storage
        if storage.key not in self.loaded:
            self.num_loaded += storage.num_bytes
            if self.num_loaded > self.size:
                raise InvalidFileError("its storages overlap: together they are larger than the file")
            data = bytearray(self._bytes_of(storage))
            self.loaded[storage.key] = torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0).byte()
        return self.loaded[storage.key].view(stored.dtype).as_strided(stored.size, stored.stride, stored.offset)

    def _persistent(self, description: Any) -> Storage | Name:
        found = described_storage(description)
        if isinstance(found, Storage):
            if self.storages.setdefault(found.key, found).num_bytes != found.num_bytes:
                raise InvalidFileError(f"its storage {found.key} has two sizes")
            if found.num_bytes > self.size:
                raise InvalidFileError(f"its storage {found.key} of {found.num_bytes} bytes is larger than the file")
        return found

    def _open_archive(self) -> None:
        try:
            self.archive = zipfile.ZipFile(self.file)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
            raise InvalidFileError(f"it is no complete zip file ({error})") from error
        names = self.archive.namelist()
        if len(set(names)) != len(names):
            raise InvalidFileError("two of its entries have one name")
        for name in names:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
                raise InvalidFileError(f"its entry {name[:80]!r} would lie outside of it")
        pickles = [name for name in names if PurePosixPath(name).name == "data.pkl"]
        if len(pickles) != 1 or len(PurePosixPath(pickles[0]).parts) > 2:
            raise InvalidFileError("it is a zip file, but not one of torch.save: it has no `data.pkl`")
        self.root = pickles[0].removesuffix("data.pkl")
        if f"{self.root}constants.pkl" in names:
            raise InvalidFileError("it is a TorchScript program; save `model.state_dict()` from it with torch.save")
        if f"{self.root}byteorder" in names and self._entry("byteorder", 16) != b"little":
            raise InvalidFileError("it was written on a big-endian machine; save it again on another")
        with self._opened("data.pkl", MAX_PICKLE) as file:
            self.content = read_pickle(file, self.archive.getinfo(pickles[0]).file_size, self._persistent)

    def _opened(self, name: str, limit: int) -> BinaryIO:
        return io.BytesIO(self._entry(name, limit))

    def _entry(self, name: str, limit: int) -> bytes:
        """Return the content of an entry that is not compressed; torch.save compresses none."""
        assert self.archive is not None
        try:
            info = self.archive.getinfo(self.root + name)
        except KeyError:
            raise InvalidFileError(f"it has no entry `{name}`; is it complete?") from None
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise InvalidFileError(f"its entry `{name}` is compressed, which torch.save never does")
        if info.file_size > min(limit, self.size):
            raise InvalidFileError(f"its entry `{name}` of {info.file_size} bytes is too large")
        try:
            return self.archive.read(info)
        except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, NotImplementedError, struct.error) as error:
            raise InvalidFileError(f"its entry `{name}` is damaged ({error})") from error

    def _bytes_of(self, storage: Storage) -> bytes:
        if self.archive is None:
            self.file.seek(self.positions[storage.key])
            data = self.file.read(storage.num_bytes)
        else:
            data = self._entry(f"data/{storage.key}", self.size)
        if len(data) != storage.num_bytes:
            raise InvalidFileError(f"its storage {storage.key} has {len(data)} bytes, not {storage.num_bytes}")
        return data

    def _read_legacy(self) -> None:
        """Read five pickles (format, version, system, content, keys), and find the storages that follow."""
        if self._pickle() != LEGACY_MAGIC or self._pickle() != LEGACY_PROTOCOL:
            raise InvalidFileError("it is no file of torch.save")
        system = self._pickle()
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise InvalidFileError("it was written on a big-endian machine; save it again on another")
        self.content = self._pickle()
        keys = self._pickle()
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise InvalidFileError("it has no list of its storages")
        for key in keys:
            header = self.file.read(8)
            storage = self.storages.get(key)
            if storage is None or key in self.positions or len(header) != 8:
                raise InvalidFileError("its list of storages does not fit its content; is it complete?")
            if struct.unpack("<q", header)[0] != storage.length:
                raise InvalidFileError(f"its storage {key} has two lengths")
            self.positions[key] = self.file.tell()
            if self.positions[key] + storage.num_bytes > self.size:
                raise InvalidFileError(f"its storage {key} is cut; is it complete?")
            self.file.seek(storage.num_bytes, 1)
        if absent := set(self.storages) - set(self.positions):
            raise InvalidFileError(f"it lacks the storage {min(absent)}; is it complete?")

    def _pickle(self) -> Any:
        return read_pickle(self.file, self.size, self._persistent)
