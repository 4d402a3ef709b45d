import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from sklearn.metrics import accuracy_score, f1_score
from torch.utils.data import DataLoader

from affect.labels import BACKBONE_EXPRESSIONS
from callbacks.finite_loss import FiniteLoss, NonFiniteLossError
from lightning_modules.pretraining import PretrainingModule


def build(architecture: str, **changes: Any) -> PretrainingModule:
    torch.manual_seed(0)
    return PretrainingModule(architecture, BACKBONE_EXPRESSIONS, **changes)


def batches() -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(1)
    made = []
    for size in (7, 3, 1):
        expression = torch.randint(-1, 8, (size,), generator=generator)
        valence_arousal = torch.rand(size, 2, generator=generator)
        valence_arousal[::3, 0] = torch.nan
        image = torch.randn(size, 3, 32, 32, generator=generator)
        made.append(
            {
                "image": image,
                "expression": expression,
                "valence_arousal": valence_arousal,
                "name": ["x"] * size,
            }
        )
    return made


def validate(module: PretrainingModule, data: list[dict[str, Any]]) -> dict[str, float]:
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    return trainer.validate(module, DataLoader(data, batch_size=None), verbose=False)[0]


def test_validation_scores_are_those_of_all_samples(tiny_architecture: str):
    module, data = build(tiny_architecture), batches()
    scores = validate(module, data)
    with torch.no_grad():
        outputs = torch.cat([module.eval()(batch["image"]) for batch in data]).numpy()
    labels = torch.cat([batch["expression"] for batch in data]).numpy()
    target = torch.cat([batch["valence_arousal"] for batch in data]).numpy()
    y, preds = labels[labels >= 0], outputs[labels >= 0, :8].argmax(1)
    assert scores["val/expression_accuracy"] == pytest.approx(accuracy_score(y, preds))
    f1 = f1_score(y, preds, average="macro", labels=range(8), zero_division=0)
    assert scores["val/expression_f1"] == pytest.approx(f1)
    for column, name in enumerate(("valence", "arousal")):
        known = ~np.isnan(target[:, column])
        rmse = np.sqrt(np.mean((outputs[known, 8 + column] - target[known, column]) ** 2))
        assert scores[f"val/{name}_rmse"] == pytest.approx(rmse, rel=1e-5)
    assert {"val/expression_accuracy_7", "val/valence_ccc", "val/arousal_ccc"} < set(scores)
    assert {f"val/expression_f1/{name}" for name in BACKBONE_EXPRESSIONS} < set(scores)
    assert scores == validate(module, data)  # nothing is left over from the pass before


def test_metrics_without_labels_are_absent(tiny_architecture: str):
    data = batches()
    for batch in data:
        batch["valence_arousal"].fill_(torch.nan)
    scores = validate(build(tiny_architecture), data)
    assert "val/expression_accuracy" in scores
    assert not [name for name in scores if "valence" in name or "arousal" in name]


def test_losses_are_weighted_as_asked(tiny_architecture: str):
    weights = [1.0, 9.0, 1.0, 2.0, 1.0, 1.0, 1.0, 3.0]
    module = build(tiny_architecture, class_weights=weights, label_smoothing=0.1)
    batch = batches()[0]
    outputs = torch.randn(7, 10)
    expected = torch.nn.functional.cross_entropy(
        outputs[:, :8], batch["expression"], torch.tensor(weights), ignore_index=-1, label_smoothing=0.1
    )
    assert module.compute_losses(outputs, batch)["expression"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_loss_that_is_not_finite_only_at_the_raised_weights_names_its_own_batch(
    tiny_architecture: str, monkeypatch: pytest.MonkeyPatch
):
    module, passes = build(tiny_architecture), itertools.count(1)
    losses = module.compute_losses

    def fragile(*arguments: Any) -> dict[str, torch.Tensor]:
        factor = torch.nan if next(passes) == 4 else 1  # SAM's second pass over the second batch
        return {name: loss * factor for name, loss in losses(*arguments).items()}

    monkeypatch.setattr(module, "compute_losses", fragile)
    data = [{**batch, "name": [f"{number}.jpg"]} for number, batch in enumerate(batches()[:2] * 2)]
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, callbacks=[FiniteLoss()],
    )  # fmt: skip
    with pytest.raises(NonFiniteLossError, match=r"step 2 .* images: 1\.jpg\."):
        trainer.fit(module, DataLoader(data, batch_size=None))


def test_a_checkpoint_loads_safely_with_its_hyper_parameters(tiny_architecture: str, tmp_path: Path):
    module = build(tiny_architecture, class_weights=list(np.arange(1, 9, dtype=np.float32)), sam_rho=0.1)
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_train_batches=1, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(module, DataLoader(batches(), batch_size=None))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = PretrainingModule.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    assert dict(loaded.hparams) == dict(module.hparams)
    assert loaded.sam_rho == 0.1
    assert loaded.loss.class_weights.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize("dimensions", [(), ("Arousal",), ("Valence", "Arousal")])
@pytest.mark.parametrize("expressions", [(), ("a", "b", "c")])
def test_a_network_has_only_the_outputs_that_it_is_asked_for(
    tiny_architecture: str, expressions: tuple[str, ...], dimensions: tuple[str, ...]
):
    if not expressions and not dimensions:
        return
    torch.manual_seed(0)
    module, data = PretrainingModule(tiny_architecture, expressions, dimensions=dimensions), batches()[:2]
    for batch in data:
        batch["expression"] = batch["expression"].clamp(max=len(expressions) - 1)
    scores = validate(module, data)
    assert module.backbone.num_outputs == len(expressions) + len(dimensions)
    assert ("val/expression_accuracy" in scores) == bool(expressions)
    assert module.monitor in scores
    with torch.no_grad():
        outputs = torch.cat([module.eval()(batch["image"]) for batch in data])
    target = torch.cat([batch["valence_arousal"] for batch in data])
    terms = module.compute_losses(outputs[:7], data[0])
    assert set(terms) == {"loss", *(["expression"] if expressions else []), *(name.lower() for name in dimensions)}
    for column, name in enumerate(("Valence", "Arousal")):
        if name not in dimensions:
            assert f"val/{name.lower()}_rmse" not in scores
            continue
        found = outputs[:, len(expressions) + dimensions.index(name)].double()
        known = ~target[:, column].isnan()
        rmse = (found - target[:, column])[known].square().mean().sqrt()
        assert scores[f"val/{name.lower()}_rmse"] == pytest.approx(rmse.item(), rel=1e-5)
    if not expressions:
        ccc = [scores[f"val/{name.lower()}_ccc"] for name in dimensions]
        assert scores["val/ccc"] == pytest.approx(np.mean(ccc))
