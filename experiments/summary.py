"""The closing summary of `make demo`: a table and a figure of each stage's latest run.

python -m experiments.summary
"""

import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from affect.errors import InvalidFileError, UserError
from affect.storage.json_file import read_json
from experiments.runtime.reports.messages import replace_unencodable_output

STAGES: Final = {
    "pretrain": (
        "confusion_matrix.png",
        ["val/expression_accuracy", "val/expression_f1", "val/valence_ccc", "val/arousal_ccc"],
    ),
    "mtl": (
        "timeline.png",
        ["val/mtl_score", "val/mtl_score@smoothed", "val/valence_ccc", "val/arousal_ccc", "val/expression_f1",
         "val/au_f1"],
    ),
    "synthetic": (
        "blend_curve.png",
        ["val/expression_f1@pretrained", "val/expression_f1@classifier_only", "val/expression_f1@finetuned",
         "val/expression_f1@blend", "val/expression_f1@blend_crossfit", "blend/weight"],
    ),
}  # fmt: skip
"""Per experiment, the figure and the metrics to show."""


def summarise(runs: Path = Path("runs")) -> Table:
    """Build a table of the headline metrics of each experiment's latest run.

    Raises:
        MissingFileError: If an experiment has no finished run.
        InvalidFileError: If a run's metrics are damaged.
    """
    table = Table(title="The three stages", title_justify="left")
    for column in ("stage", "metric", "value", "seconds", "figure"):
        table.add_column(column, justify="right" if column in ("value", "seconds") else "left")
    for stage, (figure, names) in STAGES.items():
        folder = runs / stage / "latest"
        metrics = read_metrics(folder)
        picture = folder / "figures" / figure
        for row, name in enumerate(names):
            first = (stage, f"{metrics['wall_seconds']:.0f}", str(picture)) if row == 0 else ("", "", "")
            value = f"{metrics[name]:.4f}" if name in metrics else "—"
            table.add_row(first[0], name, value, first[1], first[2], end_section=row == len(names) - 1)
    return table


def read_metrics(folder: Path) -> dict[str, float]:
    """Read a run folder's metrics.

    Raises:
        MissingFileError: If there are none.
        InvalidFileError: If the file is damaged.
    """
    path = folder / "metrics.json"
    metrics = read_json(path, dict[str, float], f"run `make {folder.parent.name}` first")
    if "wall_seconds" not in metrics:
        raise InvalidFileError(f"{path} lacks wall_seconds; run `make {folder.parent.name}` again")
    return metrics


def main() -> None:
    """Print the summary."""
    replace_unencodable_output()
    try:
        Console(width=None if sys.stdout.isatty() else 140).print(summarise())
    except UserError as error:
        from experiments.runtime.config.load import stop

        stop(str(error))


if __name__ == "__main__":
    main()
