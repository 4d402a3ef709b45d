from pathlib import Path

from callbacks.stage_schedule import Stage, StageSchedule
from experiments.runtime.config.load import TrainerConfig
from experiments.runtime.fit import FitSettings, describe_cut_stages, scores_by_stage


def test_each_stage_has_the_scores_of_its_best_epoch_the_first_of_equals() -> None:
    f1 = [0.1, 0.3, 0.2, 0.9, 0.4, 0.9]
    rows = [
        {"epoch": epoch, "train/loss": 1.0, "val/f1": value, "val/other": float(epoch)}
        for epoch, value in enumerate(f1)
    ]
    staged = StageSchedule([Stage("a", 3, 1e-3, True), Stage("b", 4, 1e-4, False)], "val/f1", seed=0)
    expected = {"a": {"val/f1": 0.3, "val/other": 1.0}, "b": {"val/f1": 0.9, "val/other": 3.0}}
    assert scores_by_stage(rows, staged, "val/f1") == expected
    assert scores_by_stage(rows[:2], staged, "val/f1") == {"a": expected["a"]}


def test_a_fit_without_record_leaves_no_file() -> None:
    settings = FitSettings(TrainerConfig(), 0, Path("run")).unrecorded()
    assert (settings.folder, settings.logger) == (None, None)


def test_max_epochs_names_the_stages_that_it_cuts() -> None:
    stages = [Stage("classifier", 3, 1e-3, True), Stage("everything", 6, 1e-4, False)]
    assert describe_cut_stages(stages, None) == describe_cut_stages(stages, 9) == describe_cut_stages(stages, 99) == ""
    assert "max_epochs=2 cuts" in describe_cut_stages(stages, 2)
    assert "stage classifier trains 2 of its 3 epochs" in describe_cut_stages(stages, 2)
    assert "stage everything (6 epochs) does not train at all" in describe_cut_stages(stages, 2)
    assert "classifier" not in describe_cut_stages(stages, 4)
    assert "stage everything trains 1 of its 6 epochs" in describe_cut_stages(stages, 4)
