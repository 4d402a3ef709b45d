"""That all rows of the stage 3 ablation learn from the same faces."""

from typing import Any

from affect.errors import UserError
from datamodules.synthetic_faces import SyntheticFacesDataModule
from experiments.runtime.run import Run
from experiments.runtime.skipped_images import list_skipped
from experiments.synthetic.train import describe_data


class SameFaces:
    """Compares the faces of the rows, and collects where they come from.

    Args:
        run: The ablation's run.

    Attributes:
        provenance: The digest that all rows' faces have in common, and how each row's copies were made.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
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
        """Take note of the images that a trained row left out; warns if other rows left out others."""
        self._skipped[row] = skipped = frozenset(data.skipped)
        first, expected = next(iter(self._skipped.items()))
        limits = self.run.config.trainer
        # A row that has not been through all its faces need not have met all that cannot be read.
        partial = limits.limit_train_batches is not None or limits.limit_val_batches is not None
        other = skipped - expected if partial else skipped ^ expected
        if other:
            self.run.say(
                f"[yellow]rows {first!r} and {row!r} do not compare: {len(other)} images were left out of one of them "
                f"alone, for example {min(other)}[/]"
            )

    def report(self) -> dict[str, float]:
        """List and count the images that any row left out, as `report_skipped` does."""
        return list_skipped(self.run, frozenset().union(*self._skipped.values()), self.run.folder)
