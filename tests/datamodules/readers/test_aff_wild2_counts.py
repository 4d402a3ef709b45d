import dataclasses

import pytest

from datamodules.readers.aff_wild2 import AnnotationReport
from datamodules.readers.aff_wild2_counts import (
    OFFICIAL_COUNTS,
    TEST_LIST,
    TRAINING_LIST,
    VALIDATION_LIST,
    UnexpectedCountsError,
    check_official_counts,
    check_official_test_list,
    is_official,
)

OFFICIAL = AnnotationReport(**{**vars(OFFICIAL_COUNTS[TRAINING_LIST]), "duplicates": 0, "partial": 0})


def test_the_published_counts_agree_with_each_other() -> None:
    training = OFFICIAL_COUNTS[TRAINING_LIST]
    assert sum(training.expression_counts or ()) == training.expression
    assert training.rows - training.labelled == 49


def test_the_official_counts_pass() -> None:
    check_official_counts(TRAINING_LIST, OFFICIAL)


def test_a_difference_is_named() -> None:
    filtered = dataclasses.replace(OFFICIAL, labelled=52_154)
    with pytest.raises(UnexpectedCountsError, match="labelled 52154 instead of 142333"):
        check_official_counts(TRAINING_LIST, filtered)


def test_own_sets_are_not_compared() -> None:
    check_official_counts(TRAINING_LIST, dataclasses.replace(OFFICIAL, rows=2_000, labelled=1_990))
    check_official_counts("another.txt", dataclasses.replace(OFFICIAL, labelled=1))
    check_official_counts(VALIDATION_LIST, dataclasses.replace(OFFICIAL, rows=600, labelled=600))


def test_test_lists_are_compared() -> None:
    check_official_test_list([f"v/{number}.jpg" for number in range(900)])
    images = [f"v/{number}.jpg" for number in range(50_441)]
    check_official_test_list(images + images[:718])
    with pytest.raises(UnexpectedCountsError, match=f"{TEST_LIST} is not the official list: 50441 rows"):
        check_official_test_list(images)


def test_the_official_set_is_recognised_by_the_counts_of_both_lists() -> None:
    reports = {
        name: AnnotationReport(
            **{
                **vars(counts),
                "expression_counts": counts.expression_counts or (),
                "duplicates": 0,
                "partial": 0,
            }
        )
        for name, counts in OFFICIAL_COUNTS.items()
    }
    assert is_official(reports)
    assert not is_official({TRAINING_LIST: reports[TRAINING_LIST]})
    for name, count in (
        (TRAINING_LIST, "labelled"),
        (TRAINING_LIST, "videos"),
        (VALIDATION_LIST, "expression"),
    ):
        changed = dataclasses.replace(reports[name], **{count: getattr(reports[name], count) - 1})
        assert not is_official({**reports, name: changed})
