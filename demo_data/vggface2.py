"""Writer of a small VGGFace2 for identity and landmark learning, without emotion labels.

One folder per person, with the landmarks beside the pictures:

    <root>/train/p00000/0000.jpg, 0001.jpg, ..., landmarks.csv
    <root>/val/p00000/0012.jpg, ..., landmarks.csv

`val` holds further pictures of the people of `train`. `landmarks.csv` has a header `file,x0,y0,...,x67,y67` and one
line per picture: the 68 points in the iBUG order, in pixels of that picture, possibly outside of it. Action units are
drawn independently: the set has no expression, valence or arousal to learn.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from affect.storage.atomic_write import write_text
from demo_data.action_units import RENDERED_UNITS, UNIT_INDEX
from demo_data.build import demo_set, draw_all, write_jpeg
from demo_data.renderer.face import render
from demo_data.renderer.geometry import Pose
from demo_data.renderer.identity import generator, person
from demo_data.renderer.landmarks import NUM_LANDMARKS
from demo_data.renderer.scene import Scene

LANDMARK_FILE = "landmarks.csv"
LANDMARK_HEADER = ",".join(["file", *(f"{axis}{i}" for i in range(NUM_LANDMARKS) for axis in "xy")])


@dataclass(frozen=True)
class _Person:
    root: Path
    index: int
    train_images: int
    val_images: int
    size: int
    seed: int


@demo_set("faces")
def write_vggface2(
    root: Path,
    *,
    people: int = 500,
    images_per_person: int = 24,
    val_images_per_person: int = 2,
    size: int = 112,
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Draw the face set.

    Options, beside those of `demo_set`:
        people: Number of persons; none of them appears in any other demo set.
        images_per_person: Pictures of each person under `train`.
        val_images_per_person: Further pictures of each person under `val`.
        size: Side of the pictures in pixels.
    """
    jobs = [_Person(root, index, images_per_person, val_images_per_person, size, seed) for index in range(people)]
    draw_all(_draw_person, jobs, workers=workers, description="Drawing people")


def random_action_units(rng: np.random.Generator) -> np.ndarray:
    """Draw an activation, shape (2, 19), of independent units."""
    active = np.where(rng.random(len(RENDERED_UNITS)) < 0.28, rng.random(len(RENDERED_UNITS)), 0.0)
    if rng.random() < 0.7:
        active[UNIT_INDEX["AU43"]] = 0.0  # closed eyes are rare
    sides = np.repeat(active[None], 2, axis=0) * rng.uniform(0.8, 1.2, (2, 1))
    if rng.random() < 0.15:
        sides[rng.integers(2)] *= rng.random(len(RENDERED_UNITS))
    return np.clip(sides, 0, 1)


def _draw_person(job: _Person) -> None:
    who = person("faces", job.seed, job.index)
    parts = {
        "train": range(job.train_images),
        "val": range(job.train_images, job.train_images + job.val_images),
    }
    for split, numbers in parts.items():
        folder = job.root / split / f"p{job.index:05d}"
        folder.mkdir(parents=True)
        lines = [LANDMARK_HEADER]
        for number in numbers:
            rng = generator("faces", job.seed, job.index, number)
            scene = Scene.sample(rng)
            face = render(who, random_action_units(rng), Pose.sample(rng, scale=0.35), scene, job.size)
            write_jpeg(folder / f"{number:04d}.jpg", face.image, scene.jpeg_quality)
            lines.append(",".join([f"{number:04d}.jpg", *(f"{value:.2f}" for value in face.landmarks.ravel())]))
        write_text(folder / LANDMARK_FILE, "\n".join(lines) + "\n")
