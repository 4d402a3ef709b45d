from types import SimpleNamespace
from typing import Any

import pytest
import wandb
from pytorch_lightning.loggers import WandbLogger

from experiments.staged_fit import fit_logger


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
