"""Order, errors and ends of a sequence that is read in a thread."""

import threading
from collections.abc import Iterator

import pytest

from datamodules.media.read_ahead import read_ahead


def test_all_items_come_in_order() -> None:
    assert list(read_ahead(range(100), 3)) == list(range(100))
    assert list(read_ahead([], 1)) == []
    assert list(read_ahead([None, None], 1)) == [None, None]


def test_no_more_than_the_capacity_is_read_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    reader = read_ahead(items(), 2)
    assert next(reader) == 0
    threading.Event().wait(0.2)
    assert len(taken) <= 4
    reader.close()
    assert len(taken) <= 4
    assert not any(thread.name == "read-ahead" for thread in threading.enumerate())


def test_an_error_comes_at_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("two")

    reader = read_ahead(items(), 5)
    assert next(reader) == 1
    with pytest.raises(KeyError, match="two"):
        next(reader)
