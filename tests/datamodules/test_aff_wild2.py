import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from affect.storage.feature_store import StorePlan
from affect.storage.feature_store_writer import FeatureStoreWriter
from datamodules.aff_wild2 import (
    AffWild2DataModule,
    image_folder,
    load_annotations,
    load_splits,
    load_test_names,
)
from datamodules.frame_chunks import FrameChunks, FrameChunksDataModule
from datamodules.frame_survey import survey_frames
from datamodules.images.dataset import InaccessibleImageError
from datamodules.readers.annotation_errors import AnnotationError

STATISTICS = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}


def test_batches_keep_the_contract(aff_wild2: Path) -> None:
    data = AffWild2DataModule(str(aff_wild2), image_size=32, batch_size=50, num_workers=0, **STATISTICS)
    data.setup()
    assert len(data.datasets["train"]) == 6 * 20 - 2 * 7, "frames without any label are left out"
    batch = next(iter(data.val_dataloader()))
    batch = data.on_after_batch_transfer(batch, 0)
    assert batch["image"].shape == (50, 3, 32, 32)
    assert batch["image"].dtype == batch["valence_arousal"].dtype == batch["action_units"].dtype == torch.float32
    assert batch["expression"].dtype == torch.int64
    assert batch["name"][0] == "video6/00001.jpg"
    assert batch["expression"][1] == -1
    assert data.expressions[0] == "Neutral"


def test_missing_parts_are_named(aff_wild2: Path, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"training_set_annotations\.txt; data\.root"):
        load_annotations(tmp_path / "gone", "train")
    with pytest.raises(AnnotationError, match="cropped_aligned"):
        image_folder(tmp_path)
    (aff_wild2 / "training_set_annotations.txt").write_text("h\nv/1.jpg,-5,-5,-1" + ",-1" * 12 + "\n")
    with pytest.raises(AnnotationError, match="no row has a label"):
        load_annotations(aff_wild2, "train")


def test_frames_of_both_lists_are_refused_and_videos_of_both_give_a_warning(aff_wild2: Path) -> None:
    first = load_annotations(aff_wild2, "val").name[0]
    path = aff_wild2 / "training_set_annotations.txt"
    whole = path.read_text().rstrip("\n")
    labels = ",0.5,0.5,1" + ",0" * 12
    path.write_text(f"{whole}\n{first.replace('/00', '/99')}{labels}\n")
    with pytest.warns(UserWarning, match=r"1 videos are in both .* such as video6; scores"):
        load_splits(aff_wild2)
    path.write_text(f"{whole}\n{first}{labels}\n")
    with pytest.raises(AnnotationError, match=rf"1 images are in both .* such as {first}"):
        load_splits(aff_wild2)


def test_frames_listed_twice_with_other_labels_give_a_warning(aff_wild2: Path) -> None:
    path = aff_wild2 / "validation_set_annotations.txt"
    path.write_text("h\nw/1.jpg,0.5,0.5,1" + ",0" * 12 + "\nw/1.jpg,0.5,0.5,2" + ",0" * 12 + "\n")
    with pytest.warns(UserWarning, match=r"validation_set_annotations\.txt: 1 images .* labels of 1 contradict"):
        load_splits(aff_wild2)


def test_the_test_list_keeps_duplicates(aff_wild2: Path) -> None:
    names = load_test_names(aff_wild2)
    assert len(names) == 42
    assert len(set(names)) == 41


def test_surveys_notice_changed_and_missing_images(aff_wild2: Path) -> None:
    names = load_annotations(aff_wild2, "val").name
    folder = image_folder(aff_wild2)
    first = survey_frames(folder, names)
    assert not first.missing
    assert not len(first.changed_rows())
    assert survey_frames(folder, names).digest == first.digest
    assert survey_frames(folder, names[:-1]).digest != first.digest
    os.utime(folder / names[3], ns=(1, 1))
    second = survey_frames(folder, names)
    assert second.digest != first.digest
    assert first.changed_rows().tolist() == [3]
    (folder / names[3]).unlink()
    third = survey_frames(folder, [*names, "no_video/00001.jpg"])
    assert third.missing == [names[3], "no_video/00001.jpg"]
    assert third.digest not in (first.digest, second.digest)
    assert second.changed_rows().tolist() == [3]


def test_the_digest_of_a_survey_is_that_of_older_stores(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").write_bytes(b"123")
    os.utime(tmp_path / "a" / "1.jpg", ns=(5, 7))
    expected = hashlib.sha256(b"a/1.jpg (3, 7)\na/2.jpg None\n").hexdigest()
    assert survey_frames(tmp_path, ["a/1.jpg", "a/2.jpg"]).digest == expected


def test_a_chunk_holds_its_frames_and_the_names_of_missing_ones(aff_wild2: Path) -> None:
    names = load_annotations(aff_wild2, "val").name[:5]
    folder = image_folder(aff_wild2)
    (folder / names[1]).unlink()
    (folder / names[3]).write_bytes((folder / names[3]).read_bytes()[:200])
    item = FrameChunks(survey_frames(folder, names), [(7, slice(0, 5))], 24)[0]
    assert item["chunk"] == 7
    assert item["name"] == names
    assert item["image"].shape == (5, 3, 24, 24)
    assert item["image"].dtype == torch.uint8
    assert (item["image"][[1, 3]] == 128).all()
    assert set(item["missing"]) == {names[1], names[3]}
    assert "truncated JPEG" in item["missing"][names[3]]
    assert not any(str(folder) in reason for reason in item["missing"].values())


def test_an_inaccessible_image_does_not_count_as_missing(aff_wild2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = load_annotations(aff_wild2, "val").name[:3]
    folder = image_folder(aff_wild2)

    def refuse(*arguments: object) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    survey = survey_frames(folder, names)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(InaccessibleImageError, match=rf"{names[0]}: Permission denied"):
            FrameChunks(survey, [(0, slice(0, 3))], 24)[0]
    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(InaccessibleImageError, match="Permission denied"):
        survey_frames(folder, names)


def _remove(image: Path) -> None:
    image.unlink()


def _move_the_folder_away(image: Path) -> None:
    image.parent.rename(image.parent.with_name("away"))


def _make_a_folder(image: Path) -> None:
    image.unlink()
    image.mkdir()


def _write(image: Path) -> None:
    image.write_bytes(image.with_name(OTHER).read_bytes())


def _replace_keeping_size_and_time(image: Path) -> None:
    before = image.stat()
    content = image.read_bytes()
    image.write_bytes(bytes(len(content)))
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (image.stat().st_size, image.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


OTHER = "other.jpg"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_remove, "No such file or directory, but it existed"),
        (_move_the_folder_away, "No such file or directory, but it existed"),
        (_make_a_folder, "but it existed"),
        (_write, "changed since this run began"),
        (_replace_keeping_size_and_time, "changed since this run began"),
    ],
)
def test_a_file_that_is_not_the_surveyed_one_stops_the_run(
    aff_wild2: Path, change: Callable[[Path], None], reason: str
) -> None:
    names = load_annotations(aff_wild2, "val").name[:3]
    folder = image_folder(aff_wild2)
    (folder / names[1]).with_name(OTHER).write_bytes((folder / names[2]).read_bytes() + b"\0")
    chunks = FrameChunks(survey_frames(folder, names), [(0, slice(0, 3))], 24)
    assert not chunks[0]["missing"]
    change(folder / names[1])
    with pytest.raises(InaccessibleImageError, match=reason):
        chunks[0]


def test_a_file_that_comes_after_the_survey_is_not_read(aff_wild2: Path) -> None:
    names = load_annotations(aff_wild2, "val").name[:2]
    image = image_folder(aff_wild2) / names[1]
    content = image.read_bytes()
    image.unlink()
    survey = survey_frames(image_folder(aff_wild2), names)
    image.write_bytes(content)
    assert set(FrameChunks(survey, [(0, slice(0, 2))], 24)[0]["missing"]) == {names[1]}
    assert survey.changed_rows().tolist() == [1]


def test_each_process_loads_its_own_chunks(aff_wild2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = StorePlan(load_annotations(aff_wild2, "val").name, {"features": 2}, {}, chunk_rows=30)
    writer = FeatureStoreWriter(tmp_path / "store", plan)
    seen = []
    for rank in range(2):
        monkeypatch.setattr("datamodules.frame_chunks.process_share", lambda rank=rank: (rank, 2))
        data = FrameChunksDataModule(survey_frames(image_folder(aff_wild2), plan.names), writer, 16, **STATISTICS)
        data.prepare_data()
        seen.append([batch["chunk"] for batch in data.predict_dataloader()])
    assert seen == [[0, 2], [1]]
