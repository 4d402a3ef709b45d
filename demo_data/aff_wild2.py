"""Writer of a small s-Aff-Wild2 in the layout of the 4th ABAW challenge (Kollias 2022, arXiv 2207.01138).

    training_set_annotations.txt, validation_set_annotations.txt    a header, then image and 15 values per line
    MTL_Challenge_test_set_release.txt                              a header, then an image per line
    test_set_annotations.txt                                        labels of the test list, unreleased by the challenge
    cropped_aligned/<video>/<frame:05d>.jpg

Each video shows a different person. Labels are missing by task and expressions unbalanced as published; the test list
repeats some rows and names some frames that do not exist.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from affect.labels import ACTION_UNITS, AFFWILD2_EXPRESSIONS
from affect.storage.atomic_write import write_text
from demo_data.build import demo_set, draw_all, write_jpeg
from demo_data.renderer.face import render
from demo_data.renderer.geometry import Pose
from demo_data.renderer.identity import generator, person
from demo_data.renderer.scene import Scene
from demo_data.trajectories import film

HEADER: Final = "image,valence,arousal,expression,aus"
LISTS: Final = {
    "train": "training_set_annotations.txt",
    "val": "validation_set_annotations.txt",
    "test": "test_set_annotations.txt",
}
TEST_LIST: Final = "MTL_Challenge_test_set_release.txt"
EXPRESSION_COUNTS: Final = (23976, 4555, 3168, 3122, 18135, 7609, 5228, 24852)
"""Training rows per expression code of the real set."""
ANNOTATED: Final = {"train": (0.730, 0.637, 0.726), "val": (1.0, 0.574, 1.0), "test": (1.0, 1.0, 1.0)}
"""Share of rows with valence/arousal, expression and action units: 103917, 90645, 103316 of 142382 training rows,
26876, 15440, 26876 of 26876 validation rows."""

_EPISODES_PER_VIDEO: Final = 4
_UNLABELLED_ROWS: Final = 3
_TEST_DUPLICATES: Final = 0.014  # 51,159 rows, 50,441 images
_TEST_ABSENT: Final = 3
_SIZE: Final = 112
_FIRST_VIDEO: Final = {"train": 1, "val": 400, "test": 600}


@dataclass(frozen=True)
class _Video:
    root: Path
    split: str
    number: int
    frames: int
    expressions: tuple[str, ...]
    has_expression: tuple[bool, ...]
    has_valence_arousal: bool
    has_action_units: bool
    seed: int


@demo_set("aff-wild2")
def write_aff_wild2(
    root: Path,
    *,
    train: int = 3000,
    validation: int = 800,
    test: int = 400,
    frames_per_video: int = 75,
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Draw the s-Aff-Wild2 demo.

    Options, beside those of `demo_set`:
        train: Training frames.
        validation: Validation frames.
        test: Frames that the test list names, before duplicates.
        frames_per_video: Kept frames of a video, about.
    """
    sizes = {"train": train, "val": validation, "test": test}
    videos = [
        video
        for split, frames in sizes.items()
        for video in _plan(root, split, frames, max(1, round(frames / frames_per_video)), seed)
    ]
    rows = draw_all(_shoot, videos, workers=workers, description="Drawing videos")
    for split, name in LISTS.items():
        rng = generator(f"aff-wild2/{split}", seed, 1, 0)
        own = [line for video, lines in zip(videos, rows, strict=True) if video.split == split for line in lines]
        if split == "train":
            _unlabel(own, rng)
        if split == "test":
            own = _write_test_list(root, own, rng)
        _write_lines(root / name, own)


def _plan(root: Path, split: str, frames: int, count: int, seed: int) -> list[_Video]:
    """Share frames, expressions and annotations among the `count` videos of a split."""
    rng = generator(f"aff-wild2/{split}", seed)
    names = _episodes(rng, count * _EPISODES_PER_VIDEO)
    shared = np.diff(np.round(np.linspace(0, frames, count + 1)).astype(int))
    values, named, units = ANNOTATED[split]
    labelled = labelled_episodes(rng, names, named)
    # Every video is annotated for at least one of them, like the real ones.
    place = rng.permutation(count)
    parts = [slice(number * _EPISODES_PER_VIDEO, (number + 1) * _EPISODES_PER_VIDEO) for number in range(count)]
    return [
        _Video(
            root=root,
            split=split,
            number=number,
            frames=int(shared[number]),
            expressions=tuple(names[part]),
            has_expression=tuple(labelled[part].tolist()),
            has_valence_arousal=bool(place[number] < round(values * count)),
            has_action_units=bool(place[number] >= round((1 - units) * count)),
            seed=seed,
        )
        for number, part in enumerate(parts)
    ]


def _episodes(rng: np.random.Generator, total: int) -> list[str]:
    """Share episodes among the expressions as published, each at least twice where there is room.

    Faces at rest between the episodes make up most of the neutral frames.
    """
    shares = np.array(EXPRESSION_COUNTS, dtype=float)
    shares[0] *= 0.12
    counts = np.maximum(np.round(shares / shares.sum() * total).astype(int), 2)
    names = np.repeat(np.arange(len(counts)), counts)
    while len(names) > total:  # rounding up took too many: remove one of the most frequent
        common = np.bincount(names).argmax()
        names = np.delete(names, np.flatnonzero(names == common)[0])
    names = np.concatenate([names, np.full(total - len(names), len(counts) - 1)])
    return [AFFWILD2_EXPRESSIONS[code] for code in rng.permutation(names)]


def labelled_episodes(rng: np.random.Generator, names: list[str], share: float) -> np.ndarray:
    """Choose the episodes whose expression is annotated, about the same share of each; at least three of a rare one.

    Returns:
        Shape (len(names),), bool.
    """
    keep = np.zeros(len(names), dtype=bool)
    for name in sorted(set(names)):
        own = np.flatnonzero(np.array(names) == name)
        keep[rng.permutation(own)[: max(3, round(share * len(own)))]] = True
    return keep


def _shoot(video: _Video) -> list[str]:
    """Draw and write a video's frames; return their annotation lines."""
    stream = f"aff-wild2/{video.split}"
    rng = generator(stream, video.seed, 0, video.number)
    who, scene = person(stream, video.seed, video.number), Scene.sample(rng).filmed()
    track = film(rng, video.expressions, video.frames)
    scale, (x, y) = 0.36 * rng.normal(1, 0.04), rng.normal(0, 0.012, 2)
    name = f"{_FIRST_VIDEO[video.split] + video.number}-30-1280x720"
    folder = video.root / "cropped_aligned" / name
    folder.mkdir(parents=True)
    lines = []
    for index, number in enumerate(track.frame.tolist()):
        yaw, pitch, roll = track.angles[index].tolist()
        look = scene.looking(*track.gaze[index].tolist())
        pose = Pose(yaw, pitch, roll, scale, x, y)
        image = render(who, track.action_units[index], pose, look, _SIZE, frame=number).image
        write_jpeg(folder / f"{number:05d}.jpg", image, scene.jpeg_quality)
        values = [f"{value:.3f}" for value in track.valence_arousal[index]]
        code = str(AFFWILD2_EXPRESSIONS.index(track.expression[index]))
        units = [str(int(shown)) for shown in track.shown_units[index, : len(ACTION_UNITS)]]
        row = [
            f"{name}/{number:05d}.jpg",
            *(values if video.has_valence_arousal else ["-5", "-5"]),
            code if video.has_expression[track.episode[index]] else "-1",
            *(units if video.has_action_units else ["-1"] * len(ACTION_UNITS)),
        ]
        lines.append(",".join(row))
    return lines


def _unlabel(lines: list[str], rng: np.random.Generator) -> None:
    """Remove all labels from a few rows; the official list has such rows too, and a reader drops them."""
    for row in rng.choice(len(lines), min(_UNLABELLED_ROWS, len(lines) // 10), replace=False):
        image = lines[row].split(",")[0]
        lines[row] = ",".join([image, "-5", "-5", *["-1"] * (1 + len(ACTION_UNITS))])


def _write_test_list(root: Path, lines: list[str], rng: np.random.Generator) -> list[str]:
    """Write the test list, with some frames' files missing and some rows repeated; return its rows in order."""
    for row in rng.choice(np.arange(1, len(lines)), min(_TEST_ABSENT, len(lines) // 10), replace=False):
        (root / "cropped_aligned" / lines[row].split(",")[0]).unlink()
    twice = rng.choice(len(lines), int(np.ceil(_TEST_DUPLICATES * len(lines))), replace=False)
    for row in sorted(twice.tolist(), reverse=True):
        lines.insert(row + 1, lines[row])
    _write_lines(root / TEST_LIST, [line.split(",")[0] for line in lines])
    return lines


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    write_text(path, "\n".join([HEADER, *lines]) + "\n")
