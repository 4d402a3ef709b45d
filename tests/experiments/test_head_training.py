import numpy as np
import pytest
import torch

from affect.errors import UserError
from affect.heads import SeparateHeads, create_heads
from datamodules.feature_table import feature_table
from experiments.head_training import predict_rows


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
    with pytest.raises(
        UserError, match=r"head gives no numbers: it has diverged; lower heads\.learning_rate"
    ):
        predict_rows(heads, table)
