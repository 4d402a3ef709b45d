from collections import Counter

import cv2
import numpy as np
import pytest

from affect.frame_names import frame_of, video_of
from datamodules.readers.aff_wild2 import read_annotations, read_test_list
from demo_data.aff_wild2 import HEADER, LISTS, TEST_LIST, labelled_episodes, write_aff_wild2

ARGUMENTS = {"train": 120, "validation": 60, "test": 40, "frames_per_video": 20}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("aff_wild2") / "set"
    assert write_aff_wild2(root, **ARGUMENTS, workers=1)
    return root


@pytest.fixture(scope="module")
def lists(root):
    return {split: read_annotations(root / name) for split, name in LISTS.items()}


def test_sizes_are_as_asked_for(lists):
    assert lists["train"].report.rows == 120
    assert lists["train"].report.labelled == 117
    assert lists["val"].report.rows == lists["val"].report.labelled == 60


def test_lists_have_a_five_name_header_over_sixteen_values(root):
    for name in LISTS.values():
        header, first, *_ = (root / name).read_text().splitlines()
        assert header == HEADER == "image,valence,arousal,expression,aus"
        assert len(first.split(",")) == 16
    header, first, *_ = (root / TEST_LIST).read_text().splitlines()
    assert header == HEADER
    assert "," not in first


def test_no_video_is_in_two_lists(lists):
    videos = {split: {video_of(name) for name in rows.name} for split, rows in lists.items()}
    assert len(set.union(*videos.values())) == sum(len(own) for own in videos.values())


def test_frames_rise_with_gaps_within_a_video(lists):
    for rows in (lists["train"], lists["val"]):
        frames: dict[str, list[int]] = {}
        for name in rows.name:
            frames.setdefault(video_of(name), []).append(frame_of(name))
        for own in frames.values():
            assert (np.diff(own) > 0).all()
            assert np.diff(own).max() > 4


def test_labelled_frames_exist_at_the_official_size(root, lists):
    for rows in (lists["train"], lists["val"]):
        assert all((root / "cropped_aligned" / name).is_file() for name in rows.name)
    assert cv2.imread(str(root / "cropped_aligned" / lists["val"].name[0])).shape == (112, 112, 3)


def test_labels_are_missing_by_task(lists):
    train, val = lists["train"].report, lists["val"].report
    assert 0.5 * 120 < train.valence_arousal < 0.9 * 120
    assert 0.5 * 120 < train.action_units < 0.9 * 120
    assert val.valence_arousal == val.action_units == 60
    assert train.partial == val.partial == 0


def test_expressions_are_labelled_in_the_published_share_and_none_is_lost():
    names = ["Happiness"] * 100 + ["Sadness"] * 50 + ["Fear"] * 4
    labelled = labelled_episodes(np.random.default_rng(0), names, 0.6)
    assert [labelled[:100].sum(), labelled[100:150].sum(), labelled[150:].sum()] == [60, 30, 3]


def test_a_video_is_annotated_for_a_task_or_not(lists):
    rows = lists["train"]
    kept = [row for row, units in enumerate(rows.action_units) if not np.isnan(units).all()]
    by_video = Counter(video_of(rows.name[row]) for row in kept)
    missing = {video_of(name) for name in rows.name} - set(by_video)
    assert missing
    assert {video_of(rows.name[row]) for row in kept}.isdisjoint(missing)


def test_test_list_has_duplicates_and_absent_frames(root, lists):
    listed = read_test_list(root / TEST_LIST)
    assert listed == lists["test"].name
    assert len(listed) == 40 + 1
    assert len(set(listed)) == 40
    absent = [name for name in set(listed) if not (root / "cropped_aligned" / name).is_file()]
    assert len(absent) == 3
    assert listed[0] not in absent


def test_same_seed_same_bytes_for_any_number_of_workers(root, tmp_path, digest):
    write_aff_wild2(tmp_path / "again", **ARGUMENTS, workers=2)
    assert digest(tmp_path / "again") == digest(root)
