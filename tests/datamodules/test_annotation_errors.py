import pytest

from datamodules.annotation_errors import AnnotationError, leaves_root, raise_for_problems


@pytest.mark.parametrize(
    "name",
    ["../a.jpg", "a/../../b.jpg", "/etc/passwd", "..", "a\\..\\..\\b", "C:\\a.jpg", "c:/a", "\\\\host\\a"],
)
def test_paths_that_leave(name: str):
    assert leaves_root(name)


@pytest.mark.parametrize("name", ["a.jpg", "a/b.jpg", "a\\b.jpg", "a..b/c.jpg", "...", "1/2/3.PNG"])
def test_paths_that_stay(name: str):
    assert not leaves_root(name)


def test_all_lines_are_counted_and_the_first_are_shown_in_order():
    with pytest.raises(AnnotationError) as caught:
        raise_for_problems("a.csv", [(line, f"reason {line}") for line in range(30, 0, -1)], shown=3)
    assert str(caught.value).splitlines() == [
        "30 malformed lines", "a.csv:1: reason 1", "a.csv:2: reason 2", "a.csv:3: reason 3", "... and 27 more",
    ]  # fmt: skip


def test_nothing_wrong_raises_nothing():
    raise_for_problems("a.csv", [])
