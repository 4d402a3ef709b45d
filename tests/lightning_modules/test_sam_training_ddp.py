"""Two processes, each with its own part of every batch, against one plain loop over both."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from affect.losses import MultiTaskLoss
from lightning_modules.sam_training import SamTrainingModule

RATE, RHO = 1e-2, 0.1
Batch = dict[str, Any]


class PlainBackbone(nn.Module):
    """Without BatchNorm, whose statistics each process has for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.Tanh())
        self.classifier = nn.Linear(6, 10)

    def forward_features(self, image: Tensor) -> Tensor:
        return self.encoder(image)


class Network(SamTrainingModule):
    """Trains on its process's part of the data, and keeps what weights each process ends with."""

    loss_terms = ("expression", "valence", "arousal")

    def __init__(self, parts: list[list[Batch]], folder: Path, encoder_frozen: bool) -> None:
        torch.manual_seed(0)
        super().__init__(PlainBackbone(), sam_rho=RHO)
        self.loss = MultiTaskLoss(8)
        self.parts, self.folder, self.freeze = parts, folder, encoder_frozen

    def compute_losses(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        return self.loss(outputs, batch["expression"], batch["valence_arousal"])

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.parts[self.global_rank], batch_size=None)

    def on_train_start(self) -> None:
        self.encoder_frozen = self.freeze
        self.trainer.optimizers[0].param_groups[0]["lr"] = RATE

    def on_train_end(self) -> None:
        logged = {name: value for name, value in self.trainer.callback_metrics.items() if name.endswith("_epoch")}
        torch.save((self.backbone.state_dict(), logged), self.folder / f"{self.global_rank}.pt")


def part(seed: int, sizes: list[int]) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    return [
        {
            "image": torch.randn(size, 3, 2, 2, generator=generator, dtype=torch.float64),
            "expression": torch.randint(0, 8, (size,), generator=generator),
            "valence_arousal": torch.rand(size, 2, generator=generator, dtype=torch.float64) * 2 - 1,
            "name": [str(number) for number in range(size)],
        }
        for size in sizes
    ]


def plain_loop(parts: list[list[Batch]], encoder_frozen: bool) -> tuple[dict[str, Tensor], dict[str, float]]:
    """SAM around Adam with the mean of the parts' gradients, written out; a part without images has gradient 0.

    Also gives each loss's mean over all images of the batches that have it, before SAM raises the weights.
    """
    torch.manual_seed(0)
    network, loss = PlainBackbone().double(), MultiTaskLoss(8)
    trained = list((network.classifier if encoder_frozen else network).parameters())
    adam = torch.optim.Adam(trained, lr=RATE)
    seen: dict[str, list[tuple[float, int]]] = {}

    def mean_gradients(batches: tuple[Batch, ...], note: bool = False) -> list[Tensor]:
        total = [torch.zeros_like(parameter) for parameter in trained]
        for batch in batches:
            if batch["name"]:
                outputs = network.classifier(network.encoder(batch["image"]))
                terms = loss(outputs, batch["expression"], batch["valence_arousal"])
                for name in terms if note else ():
                    seen.setdefault(name, []).append((terms[name].item(), len(batch["name"])))
                for sum_, gradient in zip(total, torch.autograd.grad(terms["loss"], trained), strict=True):
                    sum_ += gradient / len(batches)
        return total

    for batches in zip(*parts, strict=True):
        found = mean_gradients(batches, note=True)
        kept = [parameter.detach().clone() for parameter in trained]
        norm = torch.cat([gradient.flatten() for gradient in found]).norm()
        with torch.no_grad():
            for parameter, gradient in zip(trained, found, strict=True):
                parameter += RHO / norm * gradient
        found = mean_gradients(batches)
        with torch.no_grad():
            for parameter, old, gradient in zip(trained, kept, found, strict=True):
                parameter.copy_(old)
                parameter.grad = gradient
        adam.step()
    means = {
        name: sum(value * size for value, size in values) / sum(size for _, size in values)
        for name, values in seen.items()
    }
    return network.state_dict(), means


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("sizes", "encoder_frozen"), [([5, 0, 3], False), ([5, 4, 3], True)],
    ids=["everything trains, one process could read nothing of the second batch", "the classifier trains"],
)  # fmt: skip
def test_both_processes_end_with_the_weights_of_a_plain_loop_over_the_mean_gradient(
    tmp_path: Path, sizes: list[int], encoder_frozen: bool
):
    parts = [part(1, [6, 4, 6]), part(2, sizes)]
    for batch in parts[1]:
        batch["valence_arousal"][:, 0] = torch.nan  # a loss that the second process never has
    trainer = pl.Trainer(
        accelerator="cpu", devices=2, strategy="ddp_fork_find_unused_parameters_true", precision="64-true",
        max_epochs=1, use_distributed_sampler=False, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Network(parts, tmp_path, encoder_frozen))
    expected, means = plain_loop(parts, encoder_frozen)
    (first, logged), (second, also_logged) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert set(means) == {"loss", "expression", "valence", "arousal"}
    for found in logged, also_logged:
        assert found == pytest.approx({f"train/{name}_epoch": value for name, value in means.items()}, rel=1e-5)
    for name, value in expected.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, atol=1e-6, rtol=0)
    torch.manual_seed(0)
    moved = {
        name for name, value in PlainBackbone().state_dict().items() if (expected[name] - value).abs().max() > RATE
    }
    assert moved == {name for name in expected if "classifier" in name or not encoder_frozen}
