"""Check a submission file against its challenge's test list, and name what is wrong.

python -m experiments.validate_submission challenge=mtl|lsd submission=FILE test_list=FILE
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from affect.submissions.lsd import validate_lsd_submission
from affect.submissions.mtl import validate_mtl_submission
from datamodules import synthetic_faces
from datamodules.readers import aff_wild2
from experiments.runtime.command_line import run_experiment
from experiments.runtime.config.options import REQUIRED, one_of, option

CHALLENGES: Final = {
    "mtl": (aff_wild2.read_test_list, validate_mtl_submission),
    "lsd": (synthetic_faces.read_test_list, validate_lsd_submission),
}
"""Reader of the test list and check of a file, by challenge."""
_log = logging.getLogger("experiments.validate_submission")


@dataclass
class ValidationConfig:
    """Options of the experiment."""

    challenge: str = option(REQUIRED, "challenge: mtl (stage 2) or lsd (stage 3)", choices=tuple(CHALLENGES))
    submission: str = option(REQUIRED, "submission file to check", path=True)
    test_list: str = option(REQUIRED, "file of the official test list", path=True)


def validate(config: ValidationConfig) -> None:
    """Check the file.

    Raises:
        ConfigError: If there is no such challenge.
        SubmissionError: If the file is not a valid submission; the message names lines and reasons.
    """
    one_of("challenge", config.challenge, list(CHALLENGES))
    read, check = CHALLENGES[config.challenge]
    names = read(Path(config.test_list))
    check(config.submission, names)
    _log.info("%s: %d lines, valid", config.submission, len(names))


if __name__ == "__main__":
    run_experiment(ValidationConfig, "validate_submission", validate, default_recipe=None)
