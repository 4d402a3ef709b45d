"""Benchmark of stage 1 against the notebooks: the SAM step, and the path from a JPEG to the network's input.

    python -m benchmarks.pretraining [--batch 32] [--repeats 8]

The peer does what the published notebooks do: PIL + torchvision, float32 NCHW, SAM with a loop over tensors. Where
there is a GPU, both step on it, ours in bfloat16 too.
"""

import copy
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms as tv

from affect.labels import BACKBONE_EXPRESSIONS
from affect.losses import MultiTaskLoss
from affect.networks.backbone import DEFAULT_ARCHITECTURE, input_statistics
from affect.sam import SAM
from benchmarks.timing import interleaved, parse_options, ratio_table, silent_trainer, write_results
from callbacks.stage_schedule import Stage, StageSchedule
from datamodules.images.dataset import ImageDataset, collate_images
from datamodules.transforms import DeviceTransform
from demo_data.affectnet import write_affectnet
from lightning_modules.pretraining import PretrainingModule

SIZE = 224
RATE = 1e-4
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
STEPS = 50 if DEVICE == "cuda" else 2  # in one timed call
CHECKED_STEPS = 2
Batch = dict[str, Any]


class NotebookSam:
    """SAM as in the notebooks: each phase loops over the tensors; BatchNorm statistics move twice."""

    def __init__(self, parameters: list[nn.Parameter], rho: float) -> None:
        self.parameters = parameters
        self.rho = rho
        self.inner = torch.optim.Adam(parameters, lr=RATE, foreach=False)
        self.old: list[Tensor] = []

    @torch.no_grad()
    def first(self) -> None:
        """Move to the worst point nearby."""
        norm = torch.norm(torch.stack([p.grad.norm() for p in self.parameters if p.grad is not None]))
        self.old = []
        for p in self.parameters:
            self.old.append(p.data.clone())
            if p.grad is not None:
                p.add_(p.grad * (self.rho / (norm + 1e-12)))
        self.inner.zero_grad()

    @torch.no_grad()
    def second(self) -> None:
        """Return and step."""
        for p, old in zip(self.parameters, self.old, strict=True):
            p.data = old
        self.inner.step()
        self.inner.zero_grad()


def notebook_steps(network: nn.Module, batch: Batch, rho: float) -> Callable[[int], None]:
    """Return a callable that takes a number of the notebook's steps."""
    optimizer = NotebookSam(list(network.parameters()), rho)
    loss = MultiTaskLoss(len(BACKBONE_EXPRESSIONS))
    image = batch["image"].contiguous()

    def call(steps: int) -> None:
        for _ in range(steps):
            loss(network(image), batch["expression"], batch["valence_arousal"])["loss"].backward()
            optimizer.first()
            loss(network(image), batch["expression"], batch["valence_arousal"])["loss"].backward()
            optimizer.second()

    return call


def lightning_steps(
    module: PretrainingModule, batch: Batch, precision: Literal["32-true", "bf16-mixed"] = "32-true"
) -> Callable[[int], None]:
    """Return a callable that takes a number of steps of our module in Lightning's own loop."""
    module.configure_optimizers = keep_optimizer(module)  # type: ignore[method-assign]

    def call(steps: int) -> None:
        schedule = StageSchedule([Stage("all", 1, RATE, encoder_frozen=False)], "none", seed=0)
        trainer = silent_trainer(
            accelerator=DEVICE, devices=1, precision=precision, max_epochs=1, use_distributed_sampler=False,
            callbacks=[schedule],
        )  # fmt: skip
        # Lightning takes a plain list for several loaders; this one yields ready batches.
        trainer.fit(module, DataLoader([batch] * steps, batch_size=None))  # type: ignore[arg-type]

    return call


def keep_optimizer(module: PretrainingModule) -> Callable[[], torch.optim.Optimizer]:
    """Return the same optimiser to each of several short fits, so that Adam's moments continue."""
    adam = torch.optim.Adam(module.parameters(), lr=RATE, fused=True)
    optimizer = SAM(adam, module.sam_rho) if module.sam_rho else adam
    return lambda: optimizer


def benchmark_steps(batch_size: int, repeats: int) -> list[dict[str, Any]]:
    """Check that both reach the same weights, then time them and plain Adam."""
    torch.manual_seed(0)
    batch: Batch = {
        "image": torch.randn(batch_size, 3, SIZE, SIZE).to(DEVICE, memory_format=torch.channels_last),
        "expression": torch.randint(0, len(BACKBONE_EXPRESSIONS), (batch_size,)).to(DEVICE),
        "valence_arousal": (torch.rand(batch_size, 2) * 2 - 1).to(DEVICE),
        "name": [str(index) for index in range(batch_size)],
    }
    ours = PretrainingModule(DEFAULT_ARCHITECTURE, BACKBONE_EXPRESSIONS)
    plain = PretrainingModule(DEFAULT_ARCHITECTURE, BACKBONE_EXPRESSIONS, sam_rho=0.0)
    plain.load_state_dict(ours.state_dict())
    peer = copy.deepcopy(ours.backbone).to(DEVICE).to(memory_format=torch.contiguous_format)
    peer.train()
    steps = {
        "notebook": notebook_steps(peer, batch, rho=0.05),
        "ours, SAM": lightning_steps(ours, batch),
        "ours, plain Adam": lightning_steps(plain, batch),
    }
    if DEVICE == "cuda":
        steps["ours, SAM, bfloat16"] = lightning_steps(copy.deepcopy(ours), batch, "bf16-mixed")
    for name in ("notebook", "ours, SAM"):
        steps[name](CHECKED_STEPS)
    pairs = zip(peer.parameters(), ours.backbone.parameters(), strict=True)
    differences = [(a.cpu() - b.cpu()).abs() for a, b in pairs]
    largest = max(float(difference.max()) for difference in differences)
    # Adam's first steps are lr-sized whatever the gradient, so rounding in a near-zero one shows as up to 2 lr a step.
    mean = float(np.mean([float(difference.mean()) for difference in differences]))
    if mean > 0.05 * RATE * CHECKED_STEPS:
        raise SystemExit(f"the steps differ: mean {mean:.2e}, largest {largest:.2e}")
    print(f"equal after {CHECKED_STEPS} steps: mean difference {mean:.1e}, largest {largest:.1e}, rate {RATE:g}")
    calls = {name: partial(step, STEPS) for name, step in steps.items()}
    return ratio_table(interleaved(calls, repeats), "notebook", batch_size * STEPS, "images")


def benchmark_data(folder: Path, repeats: int, num_images: int = 48) -> list[dict[str, Any]]:
    """Check that both produce the same picture, then time them on one core for files of several sizes."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    mean, std = input_statistics(DEFAULT_ARCHITECTURE)
    write_affectnet(folder / "drawn", train=num_images, validation=8, size=136, seed=0)
    sources = sorted((folder / "drawn").rglob("*.jpg"))[:num_images]
    rows = []
    for side in (112, 224, 350):
        (folder / str(side)).mkdir()
        paths = []
        for source in sources:
            picture = cv2.resize(cv2.imread(str(source)), (side, side), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(folder / str(side) / source.name), picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
            paths.append(f"{side}/{source.name}")
        dataset = ImageDataset(folder, paths, SIZE, {})
        device = DeviceTransform(mean, std)
        pipeline = tv.Compose([tv.Resize((SIZE, SIZE)), tv.ToTensor(), tv.Normalize(mean, std)])

        def notebook(paths: list[str] = paths, pipeline: Any = pipeline) -> Tensor:
            return torch.stack([pipeline(Image.open(folder / path).convert("RGB")) for path in paths])

        def workers(dataset: ImageDataset = dataset) -> Batch:
            return collate_images([dataset[index] for index in range(len(dataset))])

        def whole(workers: Callable[[], Batch] = workers, device: DeviceTransform = device) -> Tensor:
            return device(workers()["image"])

        difference = float((whole() - notebook()).abs().mean())
        if difference > 0.1:
            raise SystemExit(f"the pictures differ by {difference:.3f} standard deviations on average")
        calls: dict[str, Callable[[], object]] = {
            "PIL + torchvision": notebook,
            "ours, a worker's part": workers,
            "ours, normalised": whole,
        }
        table = ratio_table(interleaved(calls, repeats), "PIL + torchvision", num_images, "images")
        rows += [{"file": f"{side} px", **row, "mean difference": round(difference, 4)} for row in table]
    return rows


def main() -> None:
    """Run both comparisons and write their tables."""
    options = parse_options(__doc__, batch=32, repeats=8)
    pl.seed_everything(0, verbose=False)
    steps = benchmark_steps(options.batch, options.repeats)
    write_results(
        "pretraining_step", steps, title="One SAM step of EfficientNet-B0 at 224 px",
        notes=[f"Batch {options.batch}, float32 unless said, {STEPS} steps a call on {DEVICE}, ours in Lightning's "
               "loop with all its overhead. Weights after the first steps were compared before timing."],
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        data = benchmark_data(Path(folder), options.repeats)
    write_results(
        "data_path", data, title="From a JPEG to the network's input, 224 px, one core",
        notes=["A worker's part ends at a uint8 batch; normalisation follows on the training device. The mean "
               "difference, in units of the channels' standard deviations, comes from PIL's and OpenCV's resizing."],
    )  # fmt: skip


if __name__ == "__main__":
    main()
