from rich.console import Console
from rich.table import Table

from experiments.runtime.reports.tables import metrics_table, published_if_official, results_table


def lines(table: Table) -> list[list[str]]:
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return [line.split() for line in capture.get().splitlines()]


def test_published_values_stand_beside_and_lead_the_order():
    rows = lines(results_table("T", {"b": 0.5, "extra": 123.456, "a": 0.25}, {"a": 0.3, "c": 0.1, "b": 0.4}))
    assert rows[1] == ["metric", "value", "publ"]
    assert rows[3:] == [
        ["a", "0.2500", "0.3000"],
        ["c", "—", "0.1000"],
        ["b", "0.5000", "0.4000"],
        ["extra", "123.5"],
    ]


def test_without_published_values_their_column_is_left_out():
    rows = lines(results_table("T", {"b": 0.5}, {}))
    assert rows[1] == ["metric", "value"]
    assert rows[3:] == [["b", "0.5000"]]


def test_a_cell_is_the_metric_of_its_row_and_column() -> None:
    metrics = {"f1@raw": 0.25, "f1@best": 0.5, "ccc@best": -0.125}
    rows, columns = {"f1": "F1", "ccc": "CCC"}, {"@raw": "raw", "@best": "best"}
    beside = lines(metrics_table("T", metrics, {"f1@best": 0.75}, rows, columns))
    assert beside[1] == ["metric", "raw", "best", "publ"]
    assert beside[3:] == [["F1", "0.250", "0.500", "0.750"], ["CCC", "—", "-0.125"]]
    below = lines(metrics_table("T", metrics, {"f1@best": 0.75}, rows, columns, published_below=True))
    assert below[1] == ["metric", "raw", "best"]
    assert below[3:] == [["F1", "0.250", "0.500"], ["0.750"], ["CCC", "—", "-0.125"]]


def test_published_values_are_given_for_the_official_set_alone():
    assert published_if_official({"a": 0.3}, True) == {"a": 0.3}
    assert published_if_official({"a": 0.3}, False) == {}


def test_names_are_no_markup() -> None:
    assert lines(results_table("T", {"f1/[bold]": 0.5}, {}))[3:] == [["f1/[bold]", "0.5000"]]
