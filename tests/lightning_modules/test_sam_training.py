import copy
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers.logger import Logger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from affect.errors import InvalidOptionError
from affect.losses import MultiTaskLoss
from affect.networks.backbone import Backbone
from affect.sam import SAM
from lightning_modules.sam_training import SamTrainingModule

RATE = 1e-3
Batch = dict[str, Any]


class Network(SamTrainingModule):
    """The smallest module of its kind."""

    loss_terms = ("expression", "valence", "arousal")

    def __init__(self, architecture: str, **arguments: Any) -> None:
        torch.manual_seed(0)
        super().__init__(Backbone(architecture, 10), **arguments)
        self.loss = MultiTaskLoss(8)

    def compute_losses(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        return self.loss(outputs, batch["expression"], batch["valence_arousal"])


class Memory(Logger):
    """Keeps what is logged."""

    name, version = "memory", 0

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append(metrics)

    def log_hyperparams(self, *arguments: Any, **keywords: Any) -> None:
        pass


class Enter(pl.Callback):
    """Sets what StageSchedule would."""

    def __init__(self, encoder_frozen: bool) -> None:
        self.encoder_frozen = encoder_frozen

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl_module.encoder_frozen = self.encoder_frozen
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = RATE


def batches(count: int = 3) -> list[Batch]:
    generator = torch.Generator().manual_seed(3)
    return [
        {
            "image": torch.randn(6, 3, 32, 32, generator=generator).contiguous(memory_format=torch.channels_last),
            "expression": torch.randint(0, 8, (6,), generator=generator),
            "valence_arousal": torch.rand(6, 2, generator=generator) * 2 - 1,
            "name": [str(number) for number in range(6)],
        }
        for _ in range(count)
    ]


def in_float64(data: list[Batch]) -> list[Batch]:
    """Two orders of summation agree only so: Adam turns the rounding of a gradient near 0 into a full step."""
    return [
        {key: value.double() if key in ("image", "valence_arousal") else value for key, value in batch.items()}
        for batch in data
    ]


def train(
    module: Network, encoder_frozen: bool = False, data: list[Batch] | None = None, **trainer: Any
) -> tuple[pl.Trainer, Memory]:
    memory = Memory()
    runner = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=memory, log_every_n_steps=1, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[Enter(encoder_frozen)], **trainer,
    )  # fmt: skip
    runner.fit(module, DataLoader(batches() if data is None else data, batch_size=None))
    return runner, memory


def set_momentum(network: nn.Module, momentum: float) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = momentum


def plain_loop(
    module: Network, data: list[Batch], rho: float, encoder_frozen: bool = False, clip: float | None = None
) -> list[float]:
    """SAM around Adam on the module's network, written out; returns the losses at the unraised weights."""
    network, losses = module.backbone.train(), []
    trained = [p for n, p in network.named_parameters() if not encoder_frozen or n.startswith("classifier")]
    adam = torch.optim.Adam(trained, lr=RATE)

    def gradients(batch: Batch) -> tuple[float, list[Tensor]]:
        loss = module.compute_losses(network(batch["image"]), batch)["loss"]
        return loss.item(), list(torch.autograd.grad(loss, trained))

    for batch in data:
        loss, found = gradients(batch)
        losses.append(loss)
        if rho:
            norm = torch.cat([gradient.flatten().double() for gradient in found]).norm()
            kept = [parameter.detach().clone() for parameter in trained]
            with torch.no_grad():
                for parameter, gradient in zip(trained, found, strict=True):
                    parameter += rho / norm * gradient
            set_momentum(network, 0.0)  # the running statistics have seen this batch
            found = gradients(batch)[1]
            set_momentum(network, 0.1)
            with torch.no_grad():
                for parameter, old in zip(trained, kept, strict=True):
                    parameter.copy_(old)
        for parameter, gradient in zip(trained, found, strict=True):
            parameter.grad = gradient
        if clip:
            nn.utils.clip_grad_norm_(trained, clip)
        adam.step()
    return losses


def assert_same_weights(found: Network, expected: Network) -> None:
    for (name, a), b in zip(found.state_dict().items(), expected.state_dict().values(), strict=True):
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=0, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("rho", [0.05, 0.0])
@pytest.mark.parametrize("encoder_frozen", [False, True])
@pytest.mark.parametrize("clip", [None, 0.01])
def test_three_steps_equal_a_plain_loop(tiny_architecture: str, rho: float, encoder_frozen: bool, clip: float | None):
    found = Network(tiny_architecture, sam_rho=rho, gradient_clip_norm=clip)
    expected, start = copy.deepcopy(found), copy.deepcopy(found)
    set_momentum(found, 0.1)
    runner, memory = train(found, encoder_frozen, precision="64-true")
    losses = plain_loop(expected.double(), in_float64(batches()), rho, encoder_frozen, clip)

    assert_same_weights(found, expected)
    moved = {
        name for (name, a), b in zip(found.named_parameters(), start.parameters(), strict=True) if not torch.equal(a, b)
    }
    everything = {name for name, _ in found.named_parameters()}
    assert moved == ({name for name in everything if "classifier" in name} if encoder_frozen else everything)

    # Each loss is logged once per step, and it is the one at the weights, not at the raised ones.
    logged = [row["train/loss_step"] for row in memory.rows if "train/loss_step" in row]
    assert logged == pytest.approx(losses, rel=1e-5)
    assert runner.callback_metrics["train/loss_epoch"].item() == pytest.approx(sum(losses) / 3, rel=1e-5)
    assert runner.global_step == 3
    counters = {value.item() for name, value in found.named_buffers() if name.endswith("num_batches_tracked")}
    assert counters == {3}


@pytest.mark.parametrize(("rho", "precision"), [(0.05, "32-true"), (0.0, "bf16-mixed")])
def test_clipping_changes_the_step_only_when_it_bites(tiny_architecture: str, rho: float, precision: str):
    results = []
    for clip in (None, 1e-6, 1e6):
        module = Network(tiny_architecture, sam_rho=rho, gradient_clip_norm=clip)
        train(module, precision=precision)
        results.append(torch.cat([p.detach().flatten() for p in module.parameters()]))
    assert torch.equal(results[0], results[2])
    assert not torch.equal(results[0], results[1])


def test_uneven_batches_are_weighed_by_their_size_in_the_epochs_loss(tiny_architecture: str):
    data = batches(2)
    data[1] = {key: value[:2] for key, value in data[1].items()}
    module = Network(tiny_architecture, sam_rho=0.0)
    expected = copy.deepcopy(module)
    runner, _ = train(module, data=data, precision="64-true")
    first, second = plain_loop(expected.double(), in_float64(data), 0.0)
    assert runner.callback_metrics["train/loss_epoch"].item() == pytest.approx((6 * first + 2 * second) / 8, rel=1e-5)
    assert abs(first - second) > 0.05 * first, "the plain mean of both batches is another number"


@pytest.mark.parametrize("kind", ["without labels", "of no image that could be read"])
def test_a_batch_without_labels_or_images_changes_no_weight(tiny_architecture: str, kind: str):
    data = batches(1)
    if kind == "without labels":
        data[0]["expression"] = torch.full((6,), -1)
        data[0]["valence_arousal"] = torch.full((6, 2), torch.nan)
    else:
        data[0] = {key: value[:0] for key, value in data[0].items()}
    module = Network(tiny_architecture, sam_rho=0.05)
    before = copy.deepcopy(module.backbone.classifier.state_dict())
    train(module, data=data)
    for key, value in module.backbone.classifier.state_dict().items():
        torch.testing.assert_close(value, before[key])
    assert all(torch.isfinite(value).all() for value in module.state_dict().values())


def test_bf16_keeps_float32_weights_near_those_of_float32(tiny_architecture: str):
    half, whole = Network(tiny_architecture, sam_rho=0.05), Network(tiny_architecture, sam_rho=0.05)
    start = torch.cat([p.detach().flatten() for p in half.parameters()])
    _, memory = train(half, precision="bf16-mixed")
    _, reference = train(whole)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float32}
    a, b = (torch.cat([p.detach().flatten() for p in module.parameters()]) - start for module in (half, whole))
    assert torch.cosine_similarity(a, b, dim=0) > 0.7
    key = "train/loss_step"
    assert memory.rows[0][key] == pytest.approx(reference.rows[0][key], abs=0.1)


def test_sam_and_clipping_refuse_loss_scaling_and_name_the_way_out(tiny_architecture: str):
    module = Network(tiny_architecture, sam_rho=0.05)
    trainer = SimpleNamespace(precision="16-mixed")
    module._trainer = trainer
    for module.sam_rho, module.gradient_clip_norm in ((0.05, None), (0.0, 1.0)):
        with pytest.raises(InvalidOptionError, match=r"trainer\.precision=bf16-mixed"):
            module.configure_optimizers()
    module.gradient_clip_norm = None
    assert not isinstance(module.configure_optimizers(), SAM)
    module.sam_rho, trainer.precision = 0.05, "32-true"
    assert isinstance(module.configure_optimizers(), SAM)


def test_the_network_is_kept_channels_last(tiny_architecture: str):
    module = Network(tiny_architecture, sam_rho=0.05)
    train(module)
    weights = [p for p in module.parameters() if p.ndim == 4 and min(p.shape[1:]) > 1]
    assert weights
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
