"""Published sizes of s-Aff-Wild2's lists, to detect a damaged or filtered copy, whose scores would not be comparable.

A known mistake elsewhere drops every frame that lacks any one label: 52,154 training and 15,440 validation rows remain,
and the scores of valence/arousal and action units can no longer be compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from datamodules.readers.aff_wild2 import AnnotationReport
from datamodules.readers.annotation_errors import AnnotationError

TRAINING_LIST: Final = "training_set_annotations.txt"
VALIDATION_LIST: Final = "validation_set_annotations.txt"
TEST_LIST: Final = "MTL_Challenge_test_set_release.txt"


@dataclass(frozen=True)
class OfficialCounts:
    """Sizes as counted in arXiv 2207.09508 and in the lists; the fields are AnnotationReport's."""

    rows: int
    labelled: int
    videos: int
    valence_arousal: int
    expression: int
    action_units: int
    expression_counts: tuple[int, ...] | None = None


OFFICIAL_COUNTS: Final[Mapping[str, OfficialCounts]] = {
    TRAINING_LIST: OfficialCounts(
        rows=142_382, labelled=142_333, videos=257, valence_arousal=103_917, expression=90_645,
        action_units=103_316, expression_counts=(23976, 4555, 3168, 3122, 18135, 7609, 5228, 24852),
    ),
    VALIDATION_LIST: OfficialCounts(
        rows=26_876, labelled=26_876, videos=50, valence_arousal=26_876, expression=15_440, action_units=26_876,
    ),
}  # fmt: skip
OFFICIAL_TEST_ROWS: Final = 51_159
OFFICIAL_TEST_IMAGES: Final = 50_441


class UnexpectedCountsError(AnnotationError):
    """A list looks like the official one but has other counts."""


def looks_official(file_name: str, rows: int) -> bool:
    """Return whether a list appears to be the official one: by its name, and at least a quarter of its rows.

    A smaller set in the same layout has the names but not the size.
    """
    official = OFFICIAL_TEST_ROWS if file_name == TEST_LIST else getattr(OFFICIAL_COUNTS.get(file_name), "rows", None)
    return official is not None and rows * 4 >= official


def check_official_counts(file_name: str, report: AnnotationReport) -> None:
    """Compare an official list, by its name without folder, with the published counts.

    Raises:
        UnexpectedCountsError: If it looks official and any count differs.
    """
    if file_name not in OFFICIAL_COUNTS or not looks_official(file_name, report.rows):
        return
    if differences := _differences(file_name, report):
        raise UnexpectedCountsError(
            f"{file_name} is not the official list: {'; '.join(differences)}. Fetch it again, or set "
            "data.check_counts=false to continue with scores that cannot be compared with published ones"
        )


def is_official(reports: Mapping[str, AnnotationReport]) -> bool:
    """Return whether training and validation list have all the published counts.

    Args:
        reports: Counts by the name of the list.
    """
    return not any(
        list_name not in reports or _differences(list_name, reports[list_name]) for list_name in OFFICIAL_COUNTS
    )


def _differences(file_name: str, report: AnnotationReport) -> list[str]:
    return [
        f"{count} {getattr(report, count)} instead of {expected}"
        for count, expected in vars(OFFICIAL_COUNTS[file_name]).items()
        if expected is not None and getattr(report, count) != expected
    ]


def check_official_test_list(names: list[str]) -> None:
    """Compare a test list with the published counts.

    Raises:
        UnexpectedCountsError: If it looks official but its rows or distinct images are not as many as published.
    """
    found = len(names), len(set(names))
    if looks_official(TEST_LIST, len(names)) and found != (OFFICIAL_TEST_ROWS, OFFICIAL_TEST_IMAGES):
        raise UnexpectedCountsError(
            f"{TEST_LIST} is not the official list: {found[0]} rows of {found[1]} images instead of "
            f"{OFFICIAL_TEST_ROWS} of {OFFICIAL_TEST_IMAGES}. Fetch it again, or set data.check_counts=false"
        )
