from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from affect.networks.backbone import Backbone
from affect.storage.feature_store import StorePlan
from affect.storage.feature_store_writer import FeatureStoreWriter
from callbacks.feature_prediction_writer import FeaturePredictionWriter
from lightning_modules.feature_extraction import FeatureExtraction


def test_rows_are_features_then_outputs(tiny_architecture: str) -> None:
    backbone = Backbone(tiny_architecture, 10)
    module = FeatureExtraction(backbone)
    image = torch.randn(3, 3, 32, 32)
    rows = module.predict_step({"image": image})
    assert not backbone.training
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    torch.testing.assert_close(rows[:, : backbone.num_features], backbone.forward_features(image))
    torch.testing.assert_close(rows[:, backbone.num_features :], backbone(image))


def test_a_backbone_without_outputs_gives_features_alone(tiny_architecture: str) -> None:
    backbone = Backbone(tiny_architecture, 0)
    assert FeatureExtraction(backbone).predict_step({"image": torch.randn(2, 3, 32, 32)}).shape == (
        2,
        backbone.num_features,
    )


def test_an_engine_takes_the_encoders_place(tiny_architecture: str) -> None:
    backbone = Backbone(tiny_architecture, 10)
    features = torch.randn(2, backbone.num_features)
    rows = FeatureExtraction(backbone, lambda image: features).predict_step({"image": torch.zeros(2, 3, 8, 8)})
    torch.testing.assert_close(rows, torch.cat([features, backbone.classifier(features)], 1))


def test_batches_become_chunks_of_the_store(tiny_architecture: str, tmp_path: Path) -> None:
    backbone = Backbone(tiny_architecture, 10)
    names = [f"v/{number}.jpg" for number in range(5)]
    plan = StorePlan(names, {"features": backbone.num_features, "outputs": 10}, {}, chunk_rows=3)
    writer = FeatureStoreWriter(tmp_path / "store", plan)
    writer.prepare()
    images = torch.randn(5, 3, 32, 32)
    batches = [
        {"image": images[3:], "chunk": 1, "missing": {"v/4.jpg": "gone"}},
        {"image": images[:3], "chunk": 0, "missing": {}},
    ]
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False,
        callbacks=[FeaturePredictionWriter(writer)],
    )  # fmt: skip
    trainer.predict(FeatureExtraction(backbone), DataLoader(batches, batch_size=None), return_predictions=False)
    store = writer.merge()
    with torch.no_grad():
        expected = backbone(images).numpy()
    np.testing.assert_allclose(store.features[:4, -10:], expected[:4], rtol=1e-4, atol=1e-5)
    assert np.isnan(store.features[4]).all()
    assert store.missing == {"v/4.jpg": "gone"}
