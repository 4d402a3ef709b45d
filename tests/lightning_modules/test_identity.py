from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.utils.data import DataLoader

from lightning_modules.identity import IdentityModule


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


def validate(module: IdentityModule, data: list[dict[str, Any]]) -> dict[str, float]:
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    return trainer.validate(module, DataLoader(data, batch_size=None), verbose=False)[0]


def test_losses_are_cross_entropy_and_the_weighted_distance(tiny_architecture: str):
    module = IdentityModule(tiny_architecture, num_people=3, num_landmarks=2, landmark_weight=7.0)
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
    module = IdentityModule(tiny_architecture, num_people=3, num_landmarks=2)
    assert set(module.compute_losses(torch.randn(6, 7), batch(landmarks=False))) == {"loss", "identity"}
    module = IdentityModule(tiny_architecture, num_people=3, num_landmarks=0)
    data = {**batch(), "landmarks": torch.empty(6, 0)}
    assert set(module.compute_losses(torch.randn(6, 3), data)) == {"loss", "identity"}
    assert set(validate(module, [data])) == {"val/identity_accuracy"}


def test_validation_reports_accuracy_and_the_error_as_a_share_of_the_side(tiny_architecture: str):
    torch.manual_seed(0)
    module = IdentityModule(tiny_architecture, num_people=3, num_landmarks=2)
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


def validate_in_process(rank: int, folder: str, architecture: str) -> None:
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=30),
    )
    torch.manual_seed(0)
    module = IdentityModule(architecture, num_people=3, num_landmarks=2).eval()
    scores: dict[str, torch.Tensor] = {}
    module.log_dict = scores.update
    with torch.no_grad():
        module.validation_step(batch(landmarks=rank == 0), 0)
    module.on_validation_epoch_end()
    torch.save(scores, Path(folder, f"{rank}.pt"))
    dist.destroy_process_group()


def test_landmark_errors_are_gathered_from_processes_that_have_landmarks(tiny_architecture: str, tmp_path: Path):
    mp.start_processes(validate_in_process, (str(tmp_path), tiny_architecture), nprocs=2, start_method="fork")
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert first == second
    torch.manual_seed(0)
    alone = validate(IdentityModule(tiny_architecture, num_people=3, num_landmarks=2), [batch()])
    assert first["val/landmark_error"].item() == pytest.approx(alone["val/landmark_error"], rel=1e-5)


def test_images_that_could_not_be_read_change_no_score(tiny_architecture: str):
    module = IdentityModule(tiny_architecture, num_people=3, num_landmarks=2)
    nothing = {key: value[:0] for key, value in batch().items()}
    assert validate(module, [batch(), nothing]) == validate(module, [batch()])
