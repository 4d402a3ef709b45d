from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from affect.errors import UserError
from affect.networks.head_file import HeadsSpec
from affect.networks.heads import SeparateHeads, create_heads
from datamodules.frozen_features.table import feature_table
from experiments.mtl import train_heads as head_training
from experiments.mtl.config import HeadsConfig
from experiments.mtl.train_heads import predict_rows, train_heads
from experiments.runtime.config.load import TrainerConfig
from experiments.runtime.fit import FitSettings


def test_predictions_are_probabilities_in_order_and_nothing_where_there_is_no_image() -> None:
    features = np.random.default_rng(0).normal(size=(9000, 14)).astype(np.float32)  # more than a slice
    features[[4, 8500]] = np.nan
    table = feature_table(features, {}, [f"v/{row}.jpg" for row in range(9000)])
    heads = create_heads("separate", "both", 4, 10, 3)
    assert isinstance(heads, SeparateHeads)
    preds = predict_rows(heads, table)
    present = np.setdiff1d(np.arange(9000), [4, 8500])
    np.testing.assert_allclose(preds["expression"][present].sum(1), 1, rtol=1e-5)
    with torch.no_grad():
        expected = torch.sigmoid(heads(table.feature)["action_units"]).numpy()
    np.testing.assert_allclose(preds["action_units"][present], expected[present], rtol=1e-4, atol=1e-6)
    assert np.abs(preds["valence_arousal"][present]).max() <= 1
    assert all(np.isnan(values[[4, 8500]]).all() for values in preds.values())


def test_heads_that_have_diverged_are_not_taken_for_missing_images() -> None:
    table = feature_table(np.ones((5, 14), np.float32), {}, [f"v/{row}.jpg" for row in range(5)])
    heads = create_heads("separate", "both", 4, 10, 3)
    torch.nn.init.constant_(next(heads.parameters()), torch.nan)
    with pytest.raises(UserError, match=r"head gives no numbers: it has diverged; lower heads\.learning_rate"):
        predict_rows(heads, table)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("slice", {"expression": 1, "valence_arousal": 8, "action_units": 3}),
        ("joint", {"joint": 1}),
    ],
)
def test_a_refit_trains_for_its_own_epochs_and_the_joint_network_has_its_own_penalty(
    network: str, expected: dict[str, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = {
        "expression": torch.randint(0, 8, (40,), generator=generator).numpy(),
        "valence_arousal": torch.rand(40, 2, generator=generator).numpy(),
        "action_units": torch.randint(0, 2, (40, 12), generator=generator).float().numpy(),
    }
    features = torch.randn(40, 14, generator=generator).numpy()
    table = feature_table(features, labels, [f"v/{row}.jpg" for row in range(40)])
    asked: list[dict[str, int]] = []
    make = head_training.FeatureDataModule

    def recorded(train: Any, val: Any, epochs: dict[str, int], *more: Any) -> Any:
        asked.append(epochs)
        return make(train, val, epochs, *more)

    monkeypatch.setattr(head_training, "FeatureDataModule", recorded)
    settings = FitSettings(TrainerConfig(accelerator="cpu", progress_bar=False), seed=0)  # no run folder
    spec = HeadsSpec(network, "both", 4, 10, 3, "x")
    trained = train_heads(settings, HeadsConfig(network=network), spec, table, None)
    assert asked == [expected]
    assert trained.module.l2 == (1 / 256 if network == "joint" else 1 / 512)
    assert trained.module.current_epoch == max(expected.values())
