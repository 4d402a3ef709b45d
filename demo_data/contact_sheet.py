"""Contact sheets for visual inspection of the demo sets."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from affect.storage.atomic_write import write_bytes
from demo_data.action_units import RENDERED_UNITS, activation
from demo_data.expressions import PROTOTYPES, express
from demo_data.renderer.face import render
from demo_data.renderer.geometry import Pose
from demo_data.renderer.identity import generator, person
from demo_data.renderer.image_flaws import generated_look
from demo_data.renderer.scene import Scene
from demo_data.trajectories import film

_STREAM = "sheet"


def write_sheets(root: str | Path, *, size: int = 128, seed: int = 0) -> list[Path]:
    """Draw the contact sheets as PNG files, with faces of `size` pixels; the seed chooses people and poses.

    Returns:
        `people.png`, `expressions.png`, `action_units.png`, `videos.png`, `synthetic.png`.
    """
    sheets = {
        "people": people(size, seed),
        "expressions": expressions(size, seed),
        "action_units": action_units(size, seed),
        "videos": videos(size, seed),
        "synthetic": synthetic(size, seed),
    }
    paths = [Path(root) / f"{name}.png" for name in sheets]
    for path, sheet in zip(paths, sheets.values(), strict=True):
        write_bytes(path, cv2.imencode(".png", sheet[..., ::-1])[1].tobytes())
    return paths


def people(size: int, seed: int, rows: int = 5, columns: int = 10) -> np.ndarray:
    """Draw people at rest, half of them with the same pose and light, the others as in the wild."""
    grid = []
    for row in range(rows):
        line = []
        for column in range(columns):
            number = row * columns + column
            rng = generator(_STREAM, seed, 0, number)
            alike = row < rows // 2
            pose = Pose() if alike else Pose.sample(rng)
            scene = Scene() if alike else Scene.sample(rng)
            line.append(render(person(_STREAM, seed, number), activation({}), pose, scene, size).image)
        grid.append(line)
    return _tile(grid)


def expressions(size: int, seed: int, columns: int = 10) -> np.ndarray:
    """Draw a row per expression, in the order of `PROTOTYPES`."""
    grid = []
    for row, name in enumerate(PROTOTYPES):
        line = []
        for column in range(columns):
            rng = generator(_STREAM, seed, 1, row, column)
            active = express(name, rng).action_units
            who = person(_STREAM, seed, 100 + row * columns + column)
            line.append(render(who, active, Pose.sample(rng), Scene.sample(rng), size).image)
        grid.append(line)
    return _tile(grid)


def action_units(size: int, seed: int, steps: Sequence[float] = (0.0, 0.33, 0.66, 1.0)) -> np.ndarray:
    """Draw a row per unit, in the order of `RENDERED_UNITS`, from 0 to 1 on two people."""
    grid = [
        [
            render(person(_STREAM, seed, 200 + who), activation({unit: step}), Pose(), Scene(), size).image
            for who in (2 * row, 2 * row + 1)
            for step in steps
        ]
        for row, unit in enumerate(RENDERED_UNITS)
    ]
    return _tile(grid)


def videos(size: int, seed: int, rows: int = 6, columns: int = 14) -> np.ndarray:
    """Draw a row per video: every third kept frame."""
    grid = []
    for row in range(rows):
        rng = generator(_STREAM, seed, 2, row)
        who, scene = person(_STREAM, seed, 300 + row), Scene.sample(rng).filmed()
        names = [str(name) for name in rng.choice(list(PROTOTYPES), 3)]
        track = film(rng, names, 3 * columns)
        line = []
        for index in range(0, 3 * columns, 3):
            yaw, pitch, roll = track.angles[index].tolist()
            look = scene.looking(*track.gaze[index].tolist())
            active = track.action_units[index]
            frame = int(track.frame[index])
            line.append(render(who, active, Pose(yaw, pitch, roll, 0.36), look, size, frame=frame).image)
        grid.append(line)
    return _tile(grid)


def synthetic(size: int, seed: int, columns: int = 8) -> np.ndarray:
    """Draw pairs of rows: faces, and below them what a generator would have made of them at half the size."""
    grid = []
    for row in range(3):
        faces, generated = [], []
        for column in range(columns):
            rng = generator(_STREAM, seed, 3, row, column)
            active = express(list(PROTOTYPES)[1 + (row * columns + column) % 6], rng).action_units
            who = person(_STREAM, seed, 400 + row * columns + column)
            image, landmarks = render(who, active, Pose.sample(rng, spread=0.55), Scene(), size)
            faces.append(image)
            small = generated_look(image, landmarks, size // 2, rng)
            generated.append(cv2.resize(small, (size, size), interpolation=cv2.INTER_NEAREST))
        grid += [faces, generated]
    return _tile(grid)


def _tile(grid: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    return np.vstack([np.hstack(line) for line in grid])
