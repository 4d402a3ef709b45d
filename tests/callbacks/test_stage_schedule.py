import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from affect.errors import InvalidOptionError, UserError
from callbacks.stage_checkpoints import StageCheckpoints
from callbacks.stage_schedule import Stage, StageSchedule

STEPS = 3
SCORE = "val/score"


class Network(pl.LightningModule):
    """Its weight counts steps; its validation score in each epoch is written down beforehand."""

    encoder_frozen = False

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.scores = scores
        self.rates: list[float] = []
        self.frozen: list[bool] = []
        self.draws: list[float] = []
        self.state_at_start: list[int] = []
        self.weight_at_start: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        if batch_idx == 0:
            self.state_at_start.append(len(optimizer.optimizer.state))
            self.weight_at_start.append(self.weight.item())
            self.draws.append(torch.rand(()).item())
        self.rates.append(optimizer.param_groups[0]["lr"])
        self.frozen.append(self.encoder_frozen)
        (self.weight * 0).backward()
        optimizer.step()
        with torch.no_grad():
            self.weight += 1

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        torch.rand(100)  # what happens here must not change the next epoch's random numbers

    def on_validation_epoch_end(self) -> None:
        self.log(SCORE, self.scores[self.current_epoch])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.0)


def stages(**changes: Any) -> list[Stage]:
    return [
        Stage("classifier", 2, 1e-2, encoder_frozen=True),
        Stage("everything", 3, 1e-3, encoder_frozen=False, **changes),
    ]


def fit(
    scores: list[float],
    folder: Path | None = None,
    resume: Path | None = None,
    max_epochs: int = 5,
    **changes: Any,
) -> tuple[Network, StageSchedule]:
    module, callback = Network(scores), StageSchedule(stages(**changes), SCORE, seed=3)
    others = [StageCheckpoints(folder, callback)] if folder else []
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=max_epochs, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=bool(folder), num_sanity_val_steps=0, callbacks=[callback, *others],
    )  # fmt: skip
    # With a generator of its own, as our DataModules give it: else each epoch's iterator draws from the global one.
    loader = DataLoader(torch.zeros(STEPS), batch_size=None, generator=torch.Generator())
    trainer.fit(module, loader, DataLoader(torch.zeros(1), batch_size=None), ckpt_path=resume, weights_only=True)
    return module, callback


def test_its_state_in_checkpoints_keeps_the_name_of_earlier_versions() -> None:
    assert StageSchedule([Stage("a", 1, 1e-3, True)], SCORE, seed=0).state_key == "StagedTraining"


def test_rates_and_freezing_follow_the_stages():
    module, callback = fit([0.1] * 5)
    assert callback.num_epochs == 5
    assert module.rates == [1e-2] * 2 * STEPS + [1e-3] * 3 * STEPS
    assert module.frozen == [True] * 2 * STEPS + [False] * 3 * STEPS
    assert [callback.stage_at(epoch).name[0] for epoch in range(7)] == list("cceeeee")


def test_a_cosine_falls_to_nearly_0_over_its_stage_alone():
    module, _ = fit([0.1] * 5, schedule="cosine")
    total = 3 * STEPS
    expected = [1e-3 * (1 + math.cos(math.pi * step / total)) / 2 for step in range(total)]
    assert module.rates[: 2 * STEPS] == [1e-2] * 2 * STEPS
    assert module.rates[2 * STEPS :] == pytest.approx(expected)


def test_each_stage_starts_from_and_the_fit_ends_with_the_best_weights_and_a_fresh_optimiser():
    # The first stage is best after its first epoch, the second after its second; 0.9 of the first does not count there.
    module, callback = fit([0.9, 0.2, 0.3, 0.5, 0.4])
    assert module.weight_at_start == [0, 3, 3, 6, 9]
    assert module.state_at_start == [0, 1, 0, 1, 1]
    assert module.weight.item() == 9
    assert callback.best_score == 0.5


def test_a_stage_that_keeps_its_last_epoch_asks_no_score():
    module, callback = fit([0.9, 0.2, 0.3, 0.5, 0.4], keep="last")
    assert module.weight_at_start == [0, 3, 3, 6, 9]  # the first stage keeps its best
    assert module.weight.item() == 12
    assert callback.best_epoch == 4
    assert callback.best_score == pytest.approx(0.4)
    with pytest.raises(InvalidOptionError, match=r"keep one of .*'first'"):
        Stage("a", 1, 1.0, True, keep="first")


def test_of_equal_scores_the_first_is_kept():
    module, _ = fit([0.5, 0.5, 0.3, 0.3, 0.3])
    assert module.weight_at_start[2] == 3
    assert module.weight.item() == 6


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_run_resumed_after_any_epoch_ends_like_an_undisturbed_one(tmp_path: Path, stop: int):
    scores = [0.9, 0.2, 0.6, 0.5, 0.4]
    through, _ = fit(scores)
    fit(scores, tmp_path, max_epochs=stop)
    torch.rand(1000)
    resumed, callback = fit(scores, tmp_path, resume=tmp_path / "last.ckpt")
    assert resumed.weight_at_start == through.weight_at_start[stop:]
    assert resumed.state_at_start == through.state_at_start[stop:]
    assert resumed.draws == through.draws[stop:]
    assert resumed.rates == through.rates[stop * STEPS :]
    assert resumed.weight.item() == through.weight.item()
    assert callback.best_score == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("scores", "best", "last"),
    [([0.9, 0.2, 0.3, 0.5, 0.4], 9, 12), ([0.9, 0.2, 0.3, 0.5, 0.6], 12, 12), ([0.1, 0.2], 6, 6), ([0.2, 0.1], 3, 6)],
    ids=["the best of the last stage, not of the run", "the last epoch", "the first stage so far", "its first epoch"],
)  # fmt: skip
def test_checkpoints_are_of_the_stages_best_and_of_the_last_epoch(
    tmp_path: Path, scores: list[float], best: int, last: int
):
    module, _ = fit(scores, tmp_path, max_epochs=len(scores))
    weights = [
        torch.load(tmp_path / f"{name}.ckpt", weights_only=True)["state_dict"]["weight"].item()
        for name in ("best", "last")
    ]
    assert weights == [best, last]
    assert module.weight.item() == best
    assert len(list(tmp_path.iterdir())) == 2


def test_the_best_checkpoint_survives_a_resume(tmp_path: Path):
    scores = [0.1, 0.2, 0.9, 0.5, 0.4]
    fit(scores, tmp_path, max_epochs=3)
    fit(scores, tmp_path, resume=tmp_path / "last.ckpt")
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"] == 2
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 4


def test_each_epoch_draws_other_numbers():
    module, _ = fit([0.1] * 5)
    assert len(set(module.draws)) == 5


def test_a_stage_without_epochs_is_left_out():
    callback = StageSchedule([Stage("a", 0, 1.0, True), Stage("b", 2, 1.0, False)], SCORE, seed=0)
    assert [stage.name for stage in callback.stages] == ["b"]
    with pytest.raises(InvalidOptionError, match="at least one stage"):
        StageSchedule([Stage("a", 0, 1.0, True)], SCORE, seed=0)


def test_a_metric_that_is_not_logged_is_named():
    module, callback = Network([0.1] * 5), StageSchedule(stages(), "val/nothing", seed=0)
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=5, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, num_sanity_val_steps=0, callbacks=[callback],
    )  # fmt: skip
    loader = DataLoader(torch.zeros(1), batch_size=None)
    with pytest.raises(UserError, match="no validation image has a label for val/nothing"):
        trainer.fit(module, loader, loader)


def test_an_unknown_schedule_is_named():
    with pytest.raises(InvalidOptionError, match=r"'linear'"):
        Stage("a", 1, 1.0, True, schedule="linear")
