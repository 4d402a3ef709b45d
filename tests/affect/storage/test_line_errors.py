from affect.storage.line_errors import list_problems


def test_all_are_counted_and_the_first_are_shown_in_order():
    problems = [(line, f"reason {line}") for line in range(30, 0, -1)]
    assert list_problems("a.csv", problems, "malformed line", shown=3).splitlines() == [
        "30 malformed lines", "a.csv:1: reason 1", "a.csv:2: reason 2", "a.csv:3: reason 3", "... and 27 more",
    ]  # fmt: skip


def test_twenty_are_shown_in_full():
    problems = [(line, "wrong") for line in range(1, 21)]
    assert list_problems("file", problems, "mistake").splitlines() == [
        "20 mistakes", *(f"file:{line}: wrong" for line in range(1, 21)),
    ]  # fmt: skip
    assert list_problems("file", [*problems, (21, "wrong")], "mistake").splitlines()[20:] == [
        "file:20: wrong", "... and 1 more",
    ]  # fmt: skip


def test_a_line_with_several_problems_counts_once():
    assert list_problems("a.csv", [(2, "no name"), (2, "no number")], "malformed line").splitlines() == [
        "1 malformed line", "a.csv:2: no name", "a.csv:2: no number",
    ]  # fmt: skip
