from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from lightning_modules.faces import FacesModule


def batch(landmarks: bool = True) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(6, 4, generator=generator) * 2 - 1
    points[1] = torch.nan
    points[4, 2] = torch.nan  # one unknown point leaves the face out
    return {
        "image": torch.randn(6, 3, 32, 32, generator=generator),
        "person": torch.tensor([0, 1, 2, 0, 1, 2]),
        "landmarks": points if landmarks else torch.full((6, 4), torch.nan),
        "name": ["x"] * 6,
    }


def validate(module: FacesModule, data: list[dict[str, Any]]) -> dict[str, float]:
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    return trainer.validate(module, DataLoader(data, batch_size=None), verbose=False)[0]


def test_losses_are_cross_entropy_and_the_weighted_distance(tiny_architecture: str):
    module = FacesModule(tiny_architecture, num_people=3, num_landmarks=2, landmark_weight=7.0)
    data, outputs = batch(), torch.randn(6, 7)
    terms = module.compute_losses(outputs, data)
    logits = outputs[:, :3].double().numpy()
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    identity = -np.log(probabilities[range(6), data["person"]]).mean()
    known = [0, 2, 3, 5]
    offsets = np.abs((outputs[known, 3:] - data["landmarks"][known]).numpy())
    assert terms["identity"].item() == pytest.approx(identity, rel=1e-5)
    assert terms["landmarks"].item() == pytest.approx(7 * offsets.mean(), rel=1e-5)
    assert terms["loss"].item() == pytest.approx(identity + 7 * offsets.mean(), rel=1e-5)


def test_without_landmarks_identity_is_all(tiny_architecture: str):
    module = FacesModule(tiny_architecture, num_people=3, num_landmarks=2)
    assert set(module.compute_losses(torch.randn(6, 7), batch(landmarks=False))) == {"loss", "identity"}
    module = FacesModule(tiny_architecture, num_people=3, num_landmarks=0)
    data = {**batch(), "landmarks": torch.empty(6, 0)}
    assert set(module.compute_losses(torch.randn(6, 3), data)) == {"loss", "identity"}
    assert set(validate(module, [data])) == {"val/identity_accuracy"}


def test_validation_reports_accuracy_and_the_error_as_a_share_of_the_side(tiny_architecture: str):
    torch.manual_seed(0)
    module = FacesModule(tiny_architecture, num_people=3, num_landmarks=2)
    data = batch()
    scores = validate(module, [data, {key: value[:3] for key, value in data.items()}])
    with torch.no_grad():
        outputs = module.eval()(data["image"])
    right = (outputs[:, :3].argmax(1) == data["person"]).float()
    assert scores["val/identity_accuracy"] == pytest.approx(torch.cat([right, right[:3]]).mean().item())
    known = [0, 2, 3, 5, 0, 2]
    pixels = (outputs[known, 3:] - data["landmarks"][known]).reshape(-1, 2, 2) / 2  # of a side of 1
    expected = np.mean([np.hypot(*point) for face in pixels.numpy() for point in face])
    assert scores["val/landmark_error"] == pytest.approx(expected, rel=1e-5)
