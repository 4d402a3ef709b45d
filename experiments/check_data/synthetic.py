"""The synthetic set of ABAW-4 (LSD), listed for the check."""

from pathlib import Path
from typing import Final

import pandas as pd

from affect.errors import UserError
from affect.labels import SYNTHETIC_EXPRESSIONS
from affect.storage.text_file import Fault
from datamodules.synthetic_faces import (
    OFFICIAL_COUNTS,
    OFFICIAL_VALIDATION,
    PEOPLE_FILE,
    TEST_FOLDER,
    TEST_LIST,
    TRAIN_FOLDER,
    VALIDATION_FOLDER,
    read_people,
    read_test_list,
    scan_classes,
)
from experiments.check_data.listing import Listing, samples_of
from experiments.check_data.problems import Effect, Problem, from_faults

_FOLDERS: Final = {"train": TRAIN_FOLDER, "val": VALIDATION_FOLDER}


def list_synthetic(root: Path) -> Listing:
    """List the class folders of both splits and, if there is one, the test list."""
    problems: list[Problem] = []
    remarks: list[str] = []
    tables: list[pd.DataFrame] = []
    people: dict[str, str] = {}
    for split, folder in _FOLDERS.items():
        faults: list[Fault] = []
        paths, labels, ignored = scan_classes(root / folder, faults)
        if split == "val":
            people = _people(root, paths, problems)
        problems += from_faults(faults, root, split)
        problems += [Problem(Effect.NOTE, "an entry that is no image", split, f"{folder}/{entry}") for entry in ignored]
        tables.append(samples_of(split, [f"{folder}/{path}" for path in paths], expression=labels))
    if people:
        remarks.append(f"val: {len(set(people.values())):,} people on {len(people):,} images ({PEOPLE_FILE})")
    else:
        remarks.append(f"val: no {PEOPLE_FILE}; folds are of images, not of people")
    if (root / TEST_LIST).exists():
        tables.append(_test_samples(root, problems))
    else:
        remarks.append(f"test: no {TEST_LIST}; `make synthetic-submit` needs it")
    published = {"train": OFFICIAL_COUNTS, "val": (OFFICIAL_VALIDATION,)}
    samples = pd.concat(tables, ignore_index=True)
    return Listing("synthetic faces (LSD)", root, samples, SYNTHETIC_EXPRESSIONS, problems, published, remarks)


def _people(root: Path, names: list[str], problems: list[Problem]) -> dict[str, str]:
    faults: list[Fault] = []
    people: dict[str, str] = {}
    try:
        people = read_people(root / PEOPLE_FILE, names, faults)
    except UserError as error:
        problems.append(Problem(Effect.STOPS, "the list of people cannot be read", "val", str(error)))
    problems += from_faults(faults, root, "val")
    return people


def _test_samples(root: Path, problems: list[Problem]) -> pd.DataFrame:
    faults: list[Fault] = []
    names: list[str] = []
    try:
        names = read_test_list(root / TEST_LIST, faults)
    except UserError as error:
        problems.append(Problem(Effect.NOTE, "the list cannot be read", "test", str(error)))
    problems += from_faults(faults, root, "test", Effect.NOTE)
    return samples_of("test", [f"{TEST_FOLDER}/{name}" for name in dict.fromkeys(names)])
