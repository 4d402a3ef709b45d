from pathlib import Path
from typing import Any

import pytest
import wandb
from pytorch_lightning.loggers import WandbLogger

from callbacks.stage_schedule import Stage
from experiments.runtime.config.load import TrainerConfig
from experiments.runtime.fit import FitSettings, describe_cut_stages


def test_each_fit_of_a_run_has_its_own_curves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    experiment = wandb.init(mode="disabled")
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(experiment, "log", sent.append)
    run = FitSettings(TrainerConfig(), 0, tmp_path, WandbLogger(experiment=experiment))
    for settings in (run, run.named("classifier_only"), run.named("finetuned")):
        assert isinstance(settings.logger, WandbLogger)
        settings.logger.log_metrics({"train/loss": 1.0}, step=3)
    assert [sorted(metrics) for metrics in sent] == [
        ["train/loss", "trainer/global_step"],
        ["classifier_only-train/loss", "trainer/global_step"],
        ["finetuned-train/loss", "trainer/global_step"],
    ]
    assert run.named("finetuned", logged=False).logger is None
    assert FitSettings(TrainerConfig(), 0, tmp_path).named("finetuned").logger is None


def test_max_epochs_names_the_stages_that_it_cuts() -> None:
    stages = [Stage("classifier", 3, 1e-3, True), Stage("everything", 6, 1e-4, False)]
    assert (
        describe_cut_stages(stages, None)
        == describe_cut_stages(stages, 9)
        == describe_cut_stages(stages, 99)
        == ""
    )
    assert "max_epochs=2 cuts" in describe_cut_stages(stages, 2)
    assert "stage classifier trains 2 of its 3 epochs" in describe_cut_stages(stages, 2)
    assert "stage everything (6 epochs) does not train at all" in describe_cut_stages(stages, 2)
    assert "classifier" not in describe_cut_stages(stages, 4)
    assert "stage everything trains 1 of its 6 epochs" in describe_cut_stages(stages, 4)
