import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from affect.errors import MissingFileError
from experiments.summary import STAGES, summarise


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Return finished runs of all stages, each metric of a stage another number; one could not be measured."""
    for place, (stage, (_, names)) in enumerate(STAGES.items()):
        folder = tmp_path / stage / "latest"
        folder.mkdir(parents=True)
        metrics = {name: place + number / 10 for number, name in enumerate(names)}
        metrics.pop("val/au_f1", None)
        (folder / "metrics.json").write_text(json.dumps({**metrics, "wall_seconds": 61.4 + place}))
    return tmp_path


def rows(runs: Path) -> list[list[str]]:
    written = io.StringIO()
    Console(file=written, width=250).print(summarise(runs))
    lines = [line.strip("│").split("│") for line in written.getvalue().splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line] for line in lines]


def test_each_stages_metrics_stand_below_its_name(runs: Path) -> None:
    table = rows(runs)
    assert [line[1] for line in table] == [name for _, names in STAGES.values() for name in names]
    assert [line[0] for line in table if line[0]] == list(STAGES)
    first = table[0]
    assert first[2:4] == ["0.0000", "61"]
    assert first[4] == str(runs / "pretrain" / "latest" / "figures" / "confusion_matrix.png")
    values = {line[1]: line[2] for line in table[len(table) - len(STAGES["synthetic"][1]) :]}
    assert values["val/expression_f1@blend"] == "2.3000"
    assert next(line for line in table if line[1] == "val/au_f1")[2] == "—"


def test_a_stage_that_has_not_run_is_named(runs: Path) -> None:
    (runs / "mtl" / "latest" / "metrics.json").unlink()
    with pytest.raises(MissingFileError, match=r"mtl/latest/metrics\.json; run `make mtl` first"):
        summarise(runs)
