"""The closing tables of the experiments."""

from collections.abc import Mapping

from rich.table import Table


def results_table(
    title: str, metrics: Mapping[str, float], published: Mapping[str, float], source: str
) -> Table:
    """Lay metrics beside the published values; an absent metric shows a dash, not a zero.

    Args:
        title: Heading.
        metrics: Names and values of this run.
        published: Names and published values; their order leads.
        source: Where the published values come from.
    """
    table = Table(title=title, caption=source if published else None, title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    if published:
        table.add_column("published", justify="right")
    for name in dict.fromkeys([*published, *metrics]):
        cells = [f"{metrics[name]:.4f}" if name in metrics else "—"]
        if published:
            cells.append(f"{published[name]:.4f}" if name in published else "")
        table.add_row(name, *cells)
    return table
