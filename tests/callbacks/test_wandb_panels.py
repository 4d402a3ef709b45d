from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import WandbLogger

from callbacks.wandb_panels import WandbPanels

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.1)


class FakeLogger(WandbLogger):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    @property
    def experiment(self) -> Any:
        return SimpleNamespace(log=self.sent.append)


def run(panels: WandbPanels, logger: Any) -> torch.Tensor:
    trainer: Any = SimpleNamespace(logger=logger, global_step=17)
    module: Any = None
    pixels = torch.randint(0, 256, (3, 3, 4, 4), generator=torch.Generator().manual_seed(0)).float()
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    for index, (labels, preds) in enumerate((([0, 1, -1], [0, 0, 1]), ([1], [1]))):
        batch = {
            "image": ((pixels / 255 - mean) / std)[: len(labels)],
            "expression": torch.tensor(labels), "name": [f"{index}-{row}.jpg" for row in range(len(labels))],
        }  # fmt: skip
        outputs = torch.nn.functional.one_hot(
            torch.tensor(preds), 4
        ).float()  # two classes, then other outputs
        panels.on_validation_batch_end(trainer, module, outputs, batch, index)
    panels.on_validation_end(trainer, module)
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
    assert not panels._preds
