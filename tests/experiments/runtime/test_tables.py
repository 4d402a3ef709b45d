from rich.console import Console
from rich.table import Table

from experiments.runtime.tables import published_if_official, results_table


def lines(table: Table) -> list[list[str]]:
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        console.print(table)
    rows = [line.replace("┃", "│").split("│")[1:-1] for line in capture.get().splitlines()]
    return [[cell.strip() for cell in row] for row in rows]


def test_published_values_stand_beside_and_lead_the_order():
    rows = lines(results_table("T", {"b": 0.5, "extra": 123.456, "a": 0.25}, {"a": 0.3, "c": 0.1, "b": 0.4}))
    body = [row for row in rows if len(row) == 3 and row[0] != "metric"]
    assert body == [
        ["a", "0.2500", "0.3000"],
        ["c", "—", "0.1000"],
        ["b", "0.5000", "0.4000"],
        ["extra", "123.5", ""],
    ]


def test_without_published_values_their_column_is_left_out():
    rows = lines(results_table("T", {"b": 0.5}, {}))
    assert ["metric", "value"] in rows
    assert ["b", "0.5000"] in rows


def test_published_values_are_given_for_the_official_set_alone():
    assert published_if_official({"a": 0.3}, True) == {"a": 0.3}
    assert published_if_official({"a": 0.3}, False) == {}
