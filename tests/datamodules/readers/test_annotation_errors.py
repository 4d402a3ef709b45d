import pytest

from datamodules.readers.annotation_errors import AnnotationError, leaves_root, raise_for_problems


@pytest.mark.parametrize(
    "name",
    ["../a.jpg", "a/../../b.jpg", "/etc/passwd", "..", "a\\..\\..\\b", "C:\\a.jpg", "c:/a", "\\\\host\\a"],
)
def test_paths_that_leave(name: str):
    assert leaves_root(name)


@pytest.mark.parametrize("name", ["a.jpg", "a/b.jpg", "a\\b.jpg", "a..b/c.jpg", "...", "1/2/3.PNG"])
def test_paths_that_stay(name: str):
    assert not leaves_root(name)


def test_all_malformed_lines_are_one_error():
    with pytest.raises(AnnotationError) as caught:
        raise_for_problems("a.csv", [(7, "seven"), (3, "three")])
    assert str(caught.value) == "2 malformed lines\na.csv:3: three\na.csv:7: seven"


def test_nothing_wrong_raises_nothing():
    raise_for_problems("a.csv", [])
