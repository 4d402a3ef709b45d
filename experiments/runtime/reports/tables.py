"""Tables of results for the terminal, each value beside the published one where there is any."""

from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table


def published_if_official(published: Mapping[str, float], official: bool) -> Mapping[str, float]:
    """Return published values if the data is the official set; beside results on other data they mislead."""
    return published if official else {}


def metrics_table(
    title: str,
    metrics: Mapping[str, float],
    published: Mapping[str, float],
    rows: Mapping[str, str],
    columns: Mapping[str, str],
    caption: str | None = None,
    bold: str | None = None,
    digits: int = 3,
    published_below: bool = False,
) -> Table:
    """Build a table of metrics; the metric of a cell is the row's name followed by the column's suffix.

    A metric that a run could not measure shows a dash in the first column, not 0.

    Args:
        title: Heading.
        metrics: Names and values of a run.
        published: Names and published values, which stand in a column of their own beside the measured ones.
        rows: Labels by name, such as `val/au_f1`.
        columns: Headings by suffix, such as `@smoothed`.
        caption: Text below the table.
        bold: Name of a row to emphasise.
        digits: Number of decimals of values below 10.
        published_below: Whether published values stand below the measured ones instead, in the same cell.
    """
    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, padding=0, show_edge=False,
        caption=caption, caption_justify="left",
    )  # fmt: skip
    table.add_column("metric", no_wrap=True)
    beside = [] if published_below else [
        suffix for suffix in columns if any(f"{name}{suffix}" in published for name in rows)
    ]  # fmt: skip
    for suffix, heading in columns.items():
        table.add_column(heading, justify="right", style="dim" if "crossfit" in suffix else None)
        if suffix in beside:
            table.add_column("publ", justify="right", style="cyan")

    def text(source: Mapping[str, float], key: str) -> str:
        value = source.get(key)
        return "" if value is None else f"{value:.{digits if abs(value) < 10 else 1}f}"

    for name, label in rows.items():
        cells = []
        for number, suffix in enumerate(columns):
            key = f"{name}{suffix}"
            cells.append(text(metrics, key) or ("" if number else "—"))
            if published_below and key in published:
                cells[-1] += f"\n[cyan]{text(published, key)}[/]"
            if suffix in beside:
                cells.append(text(published, key))
        table.add_row(escape(label), *cells, style="bold" if name == bold else None)
    return table


def results_table(title: str, metrics: Mapping[str, float], published: Mapping[str, float]) -> Table:
    """Build a table of all metrics of a run, in the order of the published values, which come first."""
    names = dict.fromkeys([*published, *metrics])
    return metrics_table(title, metrics, published, {name: name for name in names}, {"": "value"}, digits=4)
