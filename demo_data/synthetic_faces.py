"""Writer of a small synthetic-data set (LSD) in the layout of the 4th ABAW challenge (arXiv 2207.01138).

    training_set_synthetic_images/<CLASS>/<number>.jpg    generated faces: small, soft, warped, compressed
    validation_set_real_images/<CLASS>/<number>.jpg       other people before other backgrounds, 112 px and sharp
    validation_people.csv                                 header `image,person`: the person on each validation image
    LSD_Challenge_test_set_release.txt                    header `image,expression`, then image names
    test_set_images/<number>.jpg                          like the validation images, of yet other people
    test_set_labels.txt                                   labels of the test list, unreleased by the challenge

Folder names are the official ones, ANGRER included.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from affect.labels import SYNTHETIC_EXPRESSIONS, SYNTHETIC_FOLDERS
from affect.storage.atomic_write import write_text
from demo_data.action_units import UNIT_INDEX
from demo_data.build import demo_set, draw_all, write_jpeg
from demo_data.expressions import express
from demo_data.renderer.face import render
from demo_data.renderer.geometry import Pose
from demo_data.renderer.identity import generator, person
from demo_data.renderer.image_flaws import generated_look
from demo_data.renderer.scene import Scene

TEST_LIST: Final = "LSD_Challenge_test_set_release.txt"
TEST_TRUTH: Final = "test_set_labels.txt"
TEST_HEADER: Final = "image,expression"
PEOPLE_FILE: Final = "validation_people.csv"
FOLDERS: Final = {
    "train": "training_set_synthetic_images", "val": "validation_set_real_images", "test": "test_set_images",
}  # fmt: skip
SYNTHETIC_COUNTS: Final = (18286, 15150, 10923, 73285, 144631, 14976)
"""Images per class of the real training set."""
REAL_COUNTS: Final = (4555, 3168, 3122, 18135, 7609, 5228)
"""Frames per class of s-Aff-Wild2's training list, which the real images resemble."""

_RARE_SHARE: Final = 0.05
_SIDES: Final = (56, 64, 80, 112)
_SIDE_SHARES: Final = (0.45, 0.30, 0.15, 0.10)
_SIZE: Final = 112
_IMAGES_PER_PERSON: Final = {"train": 12, "val": 5, "test": 5}


@dataclass(frozen=True)
class _Picture:
    root: Path
    split: str
    number: int
    label: int
    seed: int

    @property
    def path(self) -> Path:
        folder = self.root / FOLDERS[self.split]
        return (folder if self.split == "test" else folder / SYNTHETIC_FOLDERS[self.label]) / f"{self.number}.jpg"

    @property
    def person(self) -> int:
        return self.number // _IMAGES_PER_PERSON[self.split]


# "files" are those beside the images: a set of an earlier version lacks the people.
@demo_set("synthetic", files=2)
def write_synthetic_faces(
    root: Path,
    *,
    train: int = 600,
    validation: int = 300,
    test: int = 100,
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Draw the synthetic-data demo.

    Options, beside those of `demo_set`:
        train: Synthetic training images, 56 to 112 px, unbalanced as published (no class under a twentieth).
        validation: Real-looking validation images, 112 px.
        test: Real-looking test images, 112 px.
    """
    sizes = {"train": train, "val": validation, "test": test}
    pictures = [picture for split, total in sizes.items() for picture in _plan(root, split, total, seed)]
    for place in {picture.path.parent for picture in pictures}:
        place.mkdir(parents=True)
    draw_all(_take, pictures, workers=workers, description="Drawing synthetic and real faces")
    listed = [picture for picture in pictures if picture.split == "test"]
    names = [picture.path.name for picture in listed]
    truth = [f"{name},{picture.label}" for name, picture in zip(names, listed, strict=True)]
    people = [
        f"{picture.path.parent.name}/{picture.path.name},{picture.person}"
        for picture in pictures
        if picture.split == "val"
    ]
    for file, lines in (
        (TEST_LIST, [TEST_HEADER, *names]),
        (TEST_TRUTH, [TEST_HEADER, *truth]),
        (PEOPLE_FILE, ["image,person", *people]),
    ):
        write_text(root / file, "\n".join(lines) + "\n")


def class_counts(total: int, published: tuple[int, ...]) -> list[int]:
    """Share images among the classes as published, with at least a twentieth for each."""
    shares = np.maximum(np.array(published) / sum(published), _RARE_SHARE)
    counts = np.floor(shares / shares.sum() * total).astype(int)
    counts[counts.argmax()] += total - counts.sum()
    return [int(count) for count in counts]


def _plan(root: Path, split: str, total: int, seed: int) -> list[_Picture]:
    counts = class_counts(total, SYNTHETIC_COUNTS if split == "train" else REAL_COUNTS)
    labels = generator(f"synthetic/{split}", seed).permutation(np.repeat(np.arange(len(counts)), counts))
    return [_Picture(root, split, number, int(label), seed) for number, label in enumerate(labels)]


def _take(picture: _Picture) -> None:
    """Draw one picture and write it."""
    stream = f"synthetic/{picture.split}"
    rng = generator(stream, picture.seed, picture.number)
    who = person(stream, picture.seed, picture.person)
    active = express(SYNTHETIC_EXPRESSIONS[picture.label], rng).action_units
    if picture.split != "train":
        scene = Scene.sample(rng)
        image = render(who, active, Pose.sample(rng, scale=0.35, spread=0.8), scene, _SIZE).image
        write_jpeg(picture.path, image, max(scene.jpeg_quality, 75))
        return
    # A generator starts from a portrait and changes the mouth more than the eyes.
    active = active.copy()
    active[:, [UNIT_INDEX[name] for name in ("AU5", "AU6", "AU7")]] *= rng.uniform(0.3, 1.0)
    scene = replace(Scene.sample(rng), blur=0.0, noise=0.0, texture=6.0, contrast=float(rng.uniform(0.1, 0.4)))
    image, landmarks = render(who, active, Pose.sample(rng, scale=0.37, spread=0.55), scene, _SIZE)
    side = int(rng.choice(_SIDES, p=_SIDE_SHARES))
    write_jpeg(picture.path, generated_look(image, landmarks, side, rng), int(rng.integers(50, 85)))
