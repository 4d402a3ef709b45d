from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import WandbLogger

from callbacks.validation_outputs import ValidationOutputs
from callbacks.wandb_panels import WandbPanels

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.1)


class FakeLogger(WandbLogger):
    """Keeps what would be sent."""

    def __init__(self, prefix: str = "") -> None:
        self.sent: list[dict[str, Any]] = []
        self._prefix = prefix
        self._wandb_init: dict[str, Any] = {}

    @property
    def experiment(self) -> Any:
        return SimpleNamespace(log=self.sent.append)


class Collected(ValidationOutputs):
    """Collects from another process too."""

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._rows += [("of-another.jpg", np.eye(4, dtype=np.float32)[1], {"expression": np.int64(1)})]
        super().on_validation_end(trainer, pl_module)


def run(panels: WandbPanels, logger: Any, outputs_of: type[ValidationOutputs] = ValidationOutputs) -> torch.Tensor:
    collected = outputs_of()
    trainer: Any = SimpleNamespace(logger=logger, global_step=17, world_size=1, callbacks=[collected, panels])
    module: Any = None
    pixels = torch.randint(0, 256, (3, 3, 4, 4), generator=torch.Generator().manual_seed(0)).float()
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    collected.on_validation_start(trainer, module)
    for index, (labels, preds) in enumerate((([0, 1, -1], [0, 0, 1]), ([1], [1]))):
        batch = {
            "image": ((pixels / 255 - mean) / std)[: len(labels)],
            "expression": torch.tensor(labels), "name": [f"{index}-{row}.jpg" for row in range(len(labels))],
        }  # fmt: skip
        outputs = torch.nn.functional.one_hot(torch.tensor(preds), 4).float()  # two classes, then other outputs
        for callback in (collected, panels):
            callback.on_validation_batch_end(trainer, module, outputs, batch, index)
    for callback in (collected, panels):
        callback.on_validation_end(trainer, module)
    return pixels


def test_the_confusion_matrix_counts_labelled_samples_of_the_pass():
    panels, logger = WandbPanels(["Anger", "Fear"], MEAN, STD, log_images=False), FakeLogger()
    for _ in range(2):
        run(panels, logger)
    assert len(logger.sent) == 2
    for sent in logger.sent:
        assert set(sent) == {"val/confusion_matrix", "trainer/global_step"}
        assert sent["trainer/global_step"] == 17
        cells = {(row[0], row[1]): row[2] for row in sent["val/confusion_matrix"].table.data}
        expected = {("Anger", "Anger"): 1, ("Anger", "Fear"): 0, ("Fear", "Anger"): 1, ("Fear", "Fear"): 1}
        assert cells == expected


def test_the_matrix_counts_the_other_processes_too():
    panels, logger = WandbPanels(["Anger", "Fear"], MEAN, STD, log_images=True), FakeLogger()
    run(panels, logger, Collected)
    cells = {(row[0], row[1]): row[2] for row in logger.sent[0]["val/confusion_matrix"].table.data}
    assert cells["Fear", "Fear"] == 2
    assert len(logger.sent[0]["val/predictions"]) == 3  # the images are of this process


def test_panels_bear_the_loggers_prefix():
    panels, logger = WandbPanels(["Anger", "Fear"], MEAN, STD, log_images=True), FakeLogger("finetuned")
    run(panels, logger)
    assert set(logger.sent[0]) == {
        "finetuned-val/confusion_matrix", "finetuned-val/predictions", "trainer/global_step",
    }  # fmt: skip


def test_images_are_sent_only_if_allowed_with_their_pixels_and_captions():
    panels, logger = WandbPanels(["Anger", "Fear"], MEAN, STD, log_images=True, num_images=2), FakeLogger()
    pixels = run(panels, logger)
    images = logger.sent[0]["val/predictions"]
    assert [image._caption for image in images] == [
        "0-0.jpg: Anger, predicted Anger",
        "0-1.jpg: Fear, predicted Anger",
    ]
    for image, expected in zip(images, pixels, strict=False):
        assert np.array_equal(np.asarray(image.image), expected.permute(1, 2, 0).numpy().astype(np.uint8))


@pytest.mark.parametrize("logger", [None, pl.loggers.CSVLogger("unused")])
def test_without_wandb_nothing_happens(logger: Any):
    panels = WandbPanels(["Anger", "Fear"], MEAN, STD, log_images=True)
    run(panels, logger)
    assert not panels._images
