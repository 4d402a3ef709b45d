"""Folds, furrows and bulges of the skin, by age and action units."""

import numpy as np

from demo_data.action_units import by_name
from demo_data.renderer.geometry import smooth, vector
from demo_data.renderer.head import on_face
from demo_data.renderer.identity import Identity
from demo_data.renderer.landmarks import BROWS, EYES, JAW, MOUTH_OUTER, NOSE_BASE, NOSE_BRIDGE
from demo_data.renderer.shading import Shade

_CIRCLE = np.linspace(0, 2 * np.pi, 16, endpoint=False)
_ACROSS_FOREHEAD = np.linspace(-0.68, 0.68, 9)
_RING = np.stack([np.cos(_CIRCLE), np.sin(_CIRCLE), 0 * _CIRCLE], axis=1)


def shade_skin(shade: Shade, identity: Identity, points: np.ndarray, active: np.ndarray) -> None:
    """Shade the folds that the FACS manual lists as signs of each unit, over those of the person's age.

    `points` are the moved landmarks, shape (68, 3); `active` is the activation, shape (2, 19).
    """
    for side, sign in enumerate((-1.0, 1.0)):
        units = by_name(active[side])
        _shade_cheek(shade, identity, points, units, side, sign)
        _shade_mouth_corner(shade, points, units, side, sign)
        _shade_brow(shade, identity, points, units, side, sign)
    both = by_name(active.mean(axis=0))
    _shade_forehead(shade, identity, points, both)
    _shade_chin(shade, points, both)
    if identity.freckles > 0:
        marks = np.random.default_rng(identity.marks_seed)
        x, y = np.clip(marks.normal(0, 0.42, 26), -0.85, 0.85), marks.normal(0.35, 0.12, 26)
        for spot in on_face(x, y):
            shade.add(spot + _RING[::3] * 0.018, -0.12 - 0.2 * identity.freckles, fine=True)


def _shade_cheek(
    shade: Shade, identity: Identity, points: np.ndarray, units: dict[str, float],
    side: int, sign: float,
) -> None:  # fmt: skip
    outer, _, inner, lower = EYES[side]
    wing, corner = points[NOSE_BASE[0 if side == 0 else 4]], points[MOUTH_OUTER[0 if side == 0 else 6]]
    bulge = max(units["AU6"], 0.7 * units["AU12"], 0.4 * units["AU9"])
    # Nasolabial fold: from the nose's wing round the mouth's corner.
    depth = 0.03 + 0.15 * identity.age + 0.26 * units["AU12"] + 0.34 * units["AU10"] + 0.30 * units["AU9"]
    depth += 0.12 * units["AU6"] + 0.12 * units["AU20"]
    halfway = wing * 0.55 + corner * 0.45 + vector(sign * (0.13 + 0.06 * bulge), -0.03, 0.02)
    end = corner + vector(sign * 0.12, -0.02 + 0.05 * units["AU12"], 0)
    fold = smooth(np.stack([wing + vector(sign * 0.05, -0.06, 0), halfway, end]))
    shade.add(fold, -0.8 * depth, 0.09)
    shade.add(fold, -min(depth, 0.7), 0.022, fine=True)
    # Cheek: a highlight that rises, under it a shadow.
    centre = np.array([sign * 0.60, 0.42 - 0.10 * bulge, 0.5])
    shade.add(centre + _RING * vector(0.20, 0.13 + 0.03 * bulge, 0), 0.07 + 0.16 * bulge)
    furrow = 0.06 + 0.14 * identity.age + 0.34 * units["AU6"] + 0.10 * units["AU7"]
    below = points[[inner, *lower, outer]] + np.array(
        [(0, 0.06, 0), (0, 0.10, 0), (0, 0.10, 0), (sign * 0.03, 0.10, 0)]
    )
    shade.add(smooth(below), -furrow, 0.03, fine=furrow > 0.2)
    # Crow's feet.
    feet = 0.9 * units["AU6"] - 0.25 + 0.35 * identity.age * (0.3 + units["AU6"])
    for rise in (-0.10, 0.0, 0.10):
        start = points[outer] + vector(sign * 0.06, 0.02 + rise * 0.5, -0.03)
        line = np.stack(
            [
                start,
                start + vector(sign * 0.075, rise * 0.55, -0.06),
                start + vector(sign * 0.15, rise * 1.3, -0.14),
            ]
        )
        shade.add(smooth(line), -0.5 * max(feet, 0.0), 0.02, fine=True)
    shade.add(points[inner] + vector(-sign * 0.08, -0.03, 0) + _RING * vector(0.07, 0.10, 0), -0.20)


def _shade_mouth_corner(shade: Shade, points: np.ndarray, units: dict[str, float], side: int, sign: float) -> None:
    corner = points[MOUTH_OUTER[0 if side == 0 else 6]]
    pouch = 0.55 * units["AU15"] + 0.12 * units["AU17"]
    line = corner + np.array([(sign * 0.03, 0.0, 0), (sign * 0.09, 0.07, -0.02), (sign * 0.11, 0.17, -0.04)])
    shade.add(smooth(line), -pouch, 0.028, fine=True)
    dimple = max(units["AU14"], 0.3 * units["AU24"], 0.35 * units["AU12"])
    arc = corner + np.array([(sign * 0.06, -0.10, 0), (sign * 0.105, -0.01, -0.02), (sign * 0.07, 0.08, 0)])
    shade.add(smooth(arc), -0.46 * dimple, 0.032, fine=True)
    stretch = units["AU20"]
    for shift in (0.13, 0.21):
        crease = corner + np.array([(sign * shift, -0.12, -0.03), (sign * (shift + 0.04), 0.02, -0.06),
                                    (sign * shift, 0.17, -0.05)])  # fmt: skip
        shade.add(smooth(crease), -0.34 * stretch, 0.024, fine=True)
    press = units["AU24"]
    shade.add(corner + vector(sign * 0.05, 0, 0) + _RING * vector(0.06, 0.08, 0), 0.25 * press)


def _shade_brow(
    shade: Shade, identity: Identity, points: np.ndarray, units: dict[str, float],
    side: int, sign: float,
) -> None:  # fmt: skip
    ends = points[list(BROWS[side])]
    socket = 0.14 + 0.22 * units["AU4"] + 0.10 * units["AU9"]
    shade.add(smooth(ends + vector(0, 0.11, -0.04)), -socket, 0.10)
    frown = 0.75 * units["AU4"] * (1 - 0.3 * units["AU1"]) + 0.10 * identity.age + 0.25 * units["AU9"]
    inner = ends[4]
    x = sign * (max(sign * inner[0] - 0.06, 0.075) - np.array([0.0, 0.014, 0.0]))
    y = inner[1] + np.array([-0.13, 0.0, 0.13])
    shade.add(on_face(x, y, 0.05), -0.62 * frown, 0.028, fine=True)
    shade.add(on_face(x + sign * 0.1, y - 0.05, 0.05), 0.25 * units["AU4"], 0.08)
    for height in (0.10, 0.19):  # AU9: oblique lines on the nose's root
        top = points[NOSE_BRIDGE[0]] + vector(sign * 0.02, height - 0.02, 0)
        line = np.stack([top, top + vector(sign * 0.09, -0.05, -0.05), top + vector(sign * 0.16, -0.02, -0.14)])
        shade.add(smooth(line), -0.42 * units["AU9"], 0.026, fine=True)


def _shade_forehead(shade: Shade, identity: Identity, points: np.ndarray, units: dict[str, float]) -> None:
    inner, outer = units["AU1"], units["AU2"]
    top = float(points[list(BROWS[0] + BROWS[1]), 1].min())
    for number, gap in enumerate((0.10, 0.20, 0.30)):
        y = top - gap + 0.02 * np.cos(_ACROSS_FOREHEAD * 5)
        # AU1 wrinkles the middle, AU2 the sides.
        middle = -0.46 * inner * (1 - 0.15 * number) - 0.10 * identity.age
        sides = -0.46 * outer * (1 - 0.15 * number) - 0.10 * identity.age
        line = on_face(_ACROSS_FOREHEAD, y)
        shade.add(smooth(line[2:7]), middle, 0.026, fine=True)
        for part in (line[:3], line[6:]):
            shade.add(smooth(part), sides, 0.026, fine=True)
    shade.add(on_face(_ACROSS_FOREHEAD[2:7], np.full(5, top - 0.24)), 0.10 * inner, 0.2)


def _shade_chin(shade: Shade, points: np.ndarray, units: dict[str, float]) -> None:
    lip, chin = points[MOUTH_OUTER[9]], points[JAW[8]]
    boss = lip * 0.45 + chin * 0.55 + vector(0, -0.02, 0.08)
    shade.add(lip + vector(0, 0.07, 0) + _RING * vector(0.20, 0.035, 0), -0.26 - 0.2 * units["AU24"])
    shade.add(boss + _RING * vector(0.20, 0.11, 0), 0.10 + 0.16 * units["AU17"])
    arch = boss + np.array(
        [(-0.2, 0.04, -0.03), (-0.11, -0.10, 0), (0, -0.135, 0), (0.11, -0.10, 0), (0.2, 0.04, -0.03)]
    )
    shade.add(smooth(arch), -0.42 * units["AU17"], 0.03, fine=True)
    for x, y in ((-0.08, 0.0), (0.07, 0.03), (0.0, -0.05), (-0.02, 0.06), (0.1, -0.03), (-0.11, 0.06)):
        shade.add(boss + vector(x, y, 0) + _RING * vector(0.018, 0.014, 0), -0.32 * units["AU17"], fine=True)
    above = points[MOUTH_OUTER[3]]
    shade.add(np.stack([above - vector(0, 0.13, 0), above - vector(0, 0.02, 0)]), -0.10, 0.06)
    squeeze = 0.5 * units["AU23"] + 0.4 * units["AU18"]
    for x in (-0.2, -0.1, 0.1, 0.2):
        line = above + np.array([(x, -0.09, 0), (x * 0.85, -0.01, 0)])
        shade.add(line, -0.3 * squeeze, 0.018, fine=True)
