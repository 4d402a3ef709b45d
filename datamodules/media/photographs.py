"""Photographs: one, or all below a folder."""

from collections.abc import Iterator
from pathlib import Path

from affect.storage.image_suffixes import describe_ignored
from datamodules.images.decoding import UnreadableImageError, read_image
from datamodules.images.tree import scan_images
from datamodules.media.frame import Frame


class Photographs:
    """A photograph, or the photographs below a folder at any depth, by name.

    Args:
        path: The file or folder.

    Attributes:
        moves: False.
        names: Paths relative to the folder.
        damage: Messages about files that could not be read; a single photograph raises instead.
        ignored: Message about files without an image's suffix; empty without any.

    Raises:
        MissingFileError: If there is no image in the folder.
        UnreadableImageError: If a folder cannot be listed.
    """

    moves = False

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        self.damage: list[str] = []
        self.ignored = ""
        self._is_single = not path.is_dir()
        self._root = path.parent
        self.names: tuple[str, ...] = (path.name,)
        if self._is_single:
            return
        tree = scan_images(path)
        self._root, self.names = tree.root, tree.names
        self.damage += [f"{tree.root / name}: {reason}" for name, reason in tree.rejected]
        if tree.ignored:
            self.ignored = describe_ignored(tree.root, tree.ignored)

    @property
    def num_frames(self) -> int:
        """Number of photographs."""
        return len(self.names)

    def frames(self, start: int = 0, every: int = 1) -> Iterator[Frame]:
        """Yield the photographs that can be read.

        Raises:
            UnreadableImageError: If the only photograph cannot be read.
        """
        for position in range(-(-start // every) * every, len(self.names), every):
            name = self.names[position]
            try:
                image = read_image(self._root / name)
            except UnreadableImageError as error:
                if self._is_single:
                    raise
                self.damage.append(str(error))
            else:
                yield Frame(name, position, 0, float("nan"), image)
