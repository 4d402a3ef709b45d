from types import SimpleNamespace
from typing import Any

import pytest
import wandb
from pytorch_lightning.loggers import WandbLogger

from callbacks.stage_schedule import Stage
from experiments.runtime.fit import describe_cut_stages, fit_logger


def test_each_fit_of_a_run_has_its_own_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = wandb.init(mode="disabled")
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(experiment, "log", sent.append)
    run: Any = SimpleNamespace(
        logger=WandbLogger(experiment=experiment), config=SimpleNamespace(output_dir=".")
    )
    for name in ("", "classifier_only", "finetuned"):
        logger = fit_logger(run, name)
        assert isinstance(logger, WandbLogger)
        logger.log_metrics({"train/loss": 1.0}, step=3)
    assert [sorted(metrics) for metrics in sent] == [
        ["train/loss", "trainer/global_step"],
        ["classifier_only-train/loss", "trainer/global_step"],
        ["finetuned-train/loss", "trainer/global_step"],
    ]
    assert fit_logger(SimpleNamespace(logger=None), "finetuned") is False  # type: ignore[arg-type]


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
