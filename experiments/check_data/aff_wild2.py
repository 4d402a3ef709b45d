"""s-Aff-Wild2, listed for the check."""

from pathlib import Path

import pandas as pd

from affect.errors import UserError
from affect.frame_names import video_of
from affect.labels import ACTION_UNITS, AFFWILD2_EXPRESSIONS
from affect.storage.text_file import Fault
from datamodules.aff_wild2 import IMAGE_FOLDER, LISTS
from datamodules.readers.aff_wild2 import Annotations, read_annotations, read_test_list
from datamodules.readers.aff_wild2_counts import (
    OFFICIAL_COUNTS,
    TEST_LIST,
    UnexpectedCountsError,
    check_official_counts,
    check_official_test_list,
)
from experiments.check_data.listing import Listing, samples_of
from experiments.check_data.problems import Effect, Problem, from_faults


def list_aff_wild2(root: Path) -> Listing:
    """List the labelled frames of both lists and, if there is one, of the test list."""
    problems: list[Problem] = []
    remarks: list[str] = []
    tables: list[pd.DataFrame] = []
    for split, name in LISTS.items():
        faults: list[Fault] = []
        try:
            rows = read_annotations(root / name, faults)
            tables.append(_samples(split, rows))
            remarks.append(f"{split}: {rows.report.summary()}")
            check_official_counts(name, rows.report)
        except UnexpectedCountsError as error:
            problems.append(Problem(Effect.STOPS, "counts differ from the published ones", split, name, 0, str(error)))
        except UserError as error:
            problems.append(Problem(Effect.STOPS, "the list cannot be read", split, str(error)))
        problems += from_faults(faults, root, split)
    if not (root / IMAGE_FOLDER).is_dir():
        problems.append(Problem(Effect.STOPS, "the folder is missing", "", IMAGE_FOLDER))
    if (root / TEST_LIST).exists():
        tables.append(_test_samples(root, problems))
    else:
        remarks.append(f"test: no {TEST_LIST}; `make mtl-submit` needs it")
    published = {
        LISTS_BY_NAME[name]: counts.expression_counts or (counts.labelled,) for name, counts in OFFICIAL_COUNTS.items()
    }
    samples = pd.concat(tables, ignore_index=True) if tables else samples_of("train", [])
    return Listing("s-Aff-Wild2", root, samples, AFFWILD2_EXPRESSIONS, problems, published, remarks)


LISTS_BY_NAME = {name: split for split, name in LISTS.items()}


def _samples(split: str, rows: Annotations) -> pd.DataFrame:
    return samples_of(
        split,
        [f"{IMAGE_FOLDER}/{name}" for name in rows.name],
        expression=rows.expression,
        video=[video_of(name) for name in rows.name],
        valence=rows.valence_arousal[:, 0],
        arousal=rows.valence_arousal[:, 1],
        **{unit: rows.action_units[:, column] for column, unit in enumerate(ACTION_UNITS)},
    )


def _test_samples(root: Path, problems: list[Problem]) -> pd.DataFrame:
    faults: list[Fault] = []
    names: list[str] = []
    try:
        names = read_test_list(root / TEST_LIST, faults)
        check_official_test_list(names)
    except UnexpectedCountsError as error:
        problems.append(Problem(Effect.NOTE, "counts differ from the published ones", "test", TEST_LIST, 0, str(error)))
    except UserError as error:
        problems.append(Problem(Effect.NOTE, "the list cannot be read", "test", str(error)))
    problems += from_faults(faults, root, "test", Effect.NOTE)
    distinct = list(dict.fromkeys(names))  # the official list repeats some
    return samples_of("test", [f"{IMAGE_FOLDER}/{name}" for name in distinct], video=[*map(video_of, distinct)])
