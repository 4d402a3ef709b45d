"""Check that all rows of the stage 3 ablation learn from the same faces."""

import logging
from pathlib import Path
from typing import Any

from affect.errors import UserError
from datamodules.synthetic_faces import SyntheticFacesDataModule
from experiments.runtime.config.load import TrainerConfig
from experiments.runtime.skipped_images import list_skipped
from experiments.synthetic.train import describe_data

_log = logging.getLogger(__name__)


class SameFaces:
    """Compare the faces of an ablation's rows, and collect where they come from.

    Args:
        folder: The ablation's run folder.
        trainer: Limits of the training.

    Attributes:
        provenance: The digest that all rows' faces have in common, and how each row's copies were made.
    """

    def __init__(self, folder: Path, trainer: TrainerConfig) -> None:
        self.folder = folder
        # A row that has not read all its faces may have missed some unreadable ones.
        self._partial = trainer.limit_train_batches is not None or trainer.limit_val_batches is not None
        self.provenance: dict[str, Any] = {}
        self._skipped: dict[str, frozenset[str]] = {}

    def compare(self, row: str, data: SyntheticFacesDataModule) -> None:
        """Compare a row's faces, before it trains, with those of the rows before.

        Raises:
            UserError: If they differ.
        """
        described = describe_data(data)
        first = self.provenance.setdefault("data_fingerprint", described["data_fingerprint"])
        if first != described["data_fingerprint"]:
            raise UserError(
                f"the faces below {data.root} have changed since the rows before {row!r} were trained; start the "
                "ablation again"
            )
        self.provenance.setdefault("upscaling", {})[row] = described["upscaling"]

    def add_skipped(self, row: str, data: SyntheticFacesDataModule) -> None:
        """Record the images that a trained row left out; warn if the rows differ in this."""
        self._skipped[row] = skipped = frozenset(data.skipped)
        first, expected = next(iter(self._skipped.items()))
        if other := skipped - expected if self._partial else skipped ^ expected:
            _log.warning(
                "rows %r and %r do not compare: %d images were left out of one of them alone, for example %s",
                first, row, len(other), min(other),
            )  # fmt: skip

    def report(self) -> dict[str, float]:
        """List and count the images that any row left out, as `report_skipped` does."""
        return list_skipped(frozenset().union(*self._skipped.values()), self.folder)
