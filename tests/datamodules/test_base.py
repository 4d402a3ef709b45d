from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from affect.errors import InvalidFileError, InvalidOptionError
from datamodules import loaders as loading
from datamodules.base import ImageDataModule
from datamodules.images.dataset import ImageDataset, UnreadableImageError, read_image

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


# Of the recording module, not of what is tested.
pytestmark = pytest.mark.filterwarnings(
    "ignore:predict returned None",
    "ignore:`LightningModule.configure_optimizers` returned",
    "ignore:.*LeafSpec",
)


class Pictures(ImageDataModule):
    """The pictures of a fixture folder."""

    def __init__(self, root: Path, paths: list[str], **loader: Any) -> None:
        super().__init__(**({"image_size": 32, "mean": MEAN, "std": STD, "batch_size": 8, "num_workers": 0} | loader))
        labels = {"expression": np.arange(len(paths))}
        for split in ("train", "val", "predict"):
            self.datasets[split] = ImageDataset(root, paths, self.image_size, labels, on_corrupt=self.on_corrupt)


class Recorder(pl.LightningModule):
    """Keeps what each step is given."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.seen: dict[str, list[dict[str, Any]]] = {"train": [], "val": [], "predict": []}

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.seen["train"].append(batch)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.seen["val"].append(batch)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.seen["predict"].append(batch)

    def configure_optimizers(self) -> None:
        return None


def run(data: ImageDataModule, epochs: int = 1, callbacks: Any = (), resume: Path | None = None) -> Recorder:
    module = Recorder()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False, callbacks=list(callbacks),
    )  # fmt: skip
    trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    trainer.predict(module, data)
    return module


@pytest.fixture
def paths(affectnet_csv: Path) -> list[str]:
    images = affectnet_csv / "Manually_Annotated_Images"
    return sorted(str(path.relative_to(affectnet_csv)) for path in images.rglob("*.jpg"))[:20]


def test_steps_get_normalised_images_with_their_labels(affectnet_csv: Path, paths: list[str]):
    seen = run(Pictures(affectnet_csv, paths)).seen
    for split in ("val", "predict"):
        assert [name for batch in seen[split] for name in batch["name"]] == paths
    for batch in seen["train"] + seen["val"]:
        for image, label, name in zip(batch["image"], batch["expression"], batch["name"], strict=True):
            pixels = read_image(affectnet_csv / name)
            expected = ((pixels / 255 - MEAN) / STD).transpose(2, 0, 1)
            np.testing.assert_allclose(image.numpy(), expected, atol=1e-5)
            assert paths[label] == name
    assert sorted(name for batch in seen["train"] for name in batch["name"]) == paths


def test_only_training_images_are_flipped(affectnet_csv: Path, paths: list[str]):
    plain = run(Pictures(affectnet_csv, paths)).seen
    flipped = run(Pictures(affectnet_csv, paths, flip=1.0)).seen
    for split in ("val", "predict"):
        assert all(torch.equal(a["image"], b["image"]) for a, b in zip(plain[split], flipped[split], strict=True))
    pairs = list(zip(plain["train"], flipped["train"], strict=True))
    assert all(torch.equal(a["image"].flip(-1), b["image"]) for a, b in pairs)


def test_the_training_order_changes_by_epoch_and_follows_the_seed(affectnet_csv: Path, paths: list[str]):
    def orders(seed: int) -> list[list[str]]:
        batches = run(Pictures(affectnet_csv, paths, seed=seed), epochs=2).seen["train"]
        names = [name for batch in batches for name in batch["name"]]
        return [names[:20], names[20:]]

    first, second = orders(1)
    assert [first, second] == orders(1)
    assert first != second
    assert sorted(first) == sorted(second)
    assert orders(2)[0] != first


def test_workers_give_the_same_batches_as_none(affectnet_csv: Path, paths: list[str]):
    alone = Pictures(affectnet_csv, paths).train_dataloader()
    helped = Pictures(affectnet_csv, paths, num_workers=2).train_dataloader()
    for one, other in zip(alone, helped, strict=True):
        assert one["name"] == other["name"]
        assert torch.equal(one["image"], other["image"])


def test_skipped_images_are_left_out_and_collected_once(affectnet_csv: Path, paths: list[str]):
    (affectnet_csv / paths[3]).write_bytes(b"")
    (affectnet_csv / paths[7]).unlink()
    data = Pictures(affectnet_csv, paths, on_corrupt="skip")
    module = run(data, epochs=2)
    assert len(data.skipped) == 2
    assert any(paths[3] in reason for reason in data.skipped)
    assert sum(len(batch["name"]) for batch in module.seen["train"]) == 36
    assert all("skipped" not in batch for batch in module.seen["train"] + module.seen["val"])


def test_a_last_batch_of_one_unreadable_image_arrives_empty(affectnet_csv: Path, paths: list[str]):
    (affectnet_csv / paths[16]).write_bytes(b"")
    data = Pictures(affectnet_csv, paths[:17], on_corrupt="skip", flip=0.5, grey=0.5)
    seen = run(data).seen
    for split in ("val", "predict"):
        assert [len(batch["name"]) for batch in seen[split]] == [8, 8, 0]
        assert seen[split][-1]["image"].shape == (0, 3, 32, 32)
        assert seen[split][-1]["image"].dtype == torch.float32
    data.datasets["train"] = ImageDataset(affectnet_csv, paths[15:17], 32, {}, on_corrupt="skip")
    assert [len(batch["image"]) for batch in run(data).seen["train"]] == [0]  # one alone cannot be trained on
    assert len(data.skipped) == 1


def test_a_last_training_batch_of_one_image_is_left_out_since_batch_normalisation_needs_two(
    affectnet_csv: Path, paths: list[str]
):
    data = Pictures(affectnet_csv, paths[:17])
    seen = run(data, epochs=4).seen
    assert [len(batch["name"]) for batch in seen["train"]] == [8, 8] * 4
    assert len({name for batch in seen["train"] for name in batch["name"]}) == 17  # another one each epoch
    assert [len(batch["name"]) for batch in seen["val"][-3:]] == [8, 8, 1]
    data.datasets["train"] = ImageDataset(affectnet_csv, paths[:1], 32, {})
    with pytest.raises(InvalidFileError, match=r"1 training image\(s\) for 1 process"):
        run(data)


def test_a_folder_in_which_nothing_can_be_read_stops_the_run_even_when_skipping(affectnet_csv: Path, paths: list[str]):
    with pytest.raises(UnreadableImageError, match=r"not one of the first 8 images .*elsewhere/.*right folder"):
        run(Pictures(affectnet_csv / "elsewhere", paths, on_corrupt="skip"))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_run_sees_the_batches_of_one_that_ran_through(
    affectnet_csv: Path, paths: list[str], tmp_path: Path, num_workers: int
):
    """Workers fetch ahead before Lightning names the epoch, and draw their noise from their own seeds."""

    def noise(image: np.ndarray) -> np.ndarray:
        return image // 2 + torch.randint(99, image.shape).numpy().astype(np.uint8)

    def noisy() -> Pictures:
        data = Pictures(affectnet_csv, paths, num_workers=num_workers)
        data.datasets["train"].augment = noise
        return data

    class Save(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            trainer.save_checkpoint(tmp_path / f"{trainer.current_epoch}.ckpt")

    expected = run(noisy(), epochs=3, callbacks=[Save()]).seen["train"][-3:]
    found = run(noisy(), epochs=3, resume=tmp_path / "1.ckpt").seen["train"]
    assert [batch["name"] for batch in found] == [batch["name"] for batch in expected]
    if num_workers:  # without, the noise follows from the global state, which is not the loader's affair
        assert all(torch.equal(one["image"], other["image"]) for one, other in zip(found, expected, strict=True))


def test_the_global_random_state_is_left_alone(affectnet_csv: Path, paths: list[str]):
    state = torch.get_rng_state()
    list(Pictures(affectnet_csv, paths).train_dataloader())
    assert torch.equal(torch.get_rng_state(), state)


def test_images_known_to_be_missing_do_not_count_as_a_wrong_folder(affectnet_csv: Path, paths: list[str]):
    for path in paths[:8]:
        (affectnet_csv / path).unlink()
    data = Pictures(affectnet_csv, paths, on_corrupt="skip")
    found = data.check_files()
    assert len(found) == 3 * 8, "of each of the three splits"
    seen = run(data).seen
    assert [len(batch["name"]) for batch in seen["val"]] == [0, 8, 4]
    assert data.skipped == {f"{affectnet_csv / path}: No such file or directory" for path in paths[:8]}


def test_a_split_without_a_single_file_is_named_even_when_skipping(affectnet_csv: Path, paths: list[str]):
    data = Pictures(affectnet_csv / "elsewhere", paths, on_corrupt="skip")
    with pytest.raises(
        UnreadableImageError, match=r"not one of the 20 images of the train list.*unpacked.*right folder"
    ):
        data.check_files()


def test_workers_without_room_for_their_batches_are_refused(
    affectnet_csv: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch
):
    batch = 8 * 3 * 32 * 32
    monkeypatch.setattr(loading.os, "statvfs", lambda path: SimpleNamespace(f_bavail=4 * batch, f_frsize=1))
    data = Pictures(affectnet_csv, paths, num_workers=1)
    assert len(data.val_dataloader()) == 3
    with pytest.raises(InvalidOptionError, match="num_workers=1"):  # those of validation are there too
        data.train_dataloader()
