"""Drawing of eyes, brows, nose and mouth from their landmarks."""

import numpy as np

from demo_data.renderer.canvas import Canvas
from demo_data.renderer.geometry import Projector, smooth, vector
from demo_data.renderer.head import brow_polygon, tone
from demo_data.renderer.identity import Identity, mix
from demo_data.renderer.landmarks import EYES, MOUTH_INNER, MOUTH_OUTER, NOSE_BASE, NOSE_BRIDGE, depth
from demo_data.renderer.shading import Shade

_CIRCLE = np.linspace(0, 2 * np.pi, 20, endpoint=False)
_RING = np.stack([np.cos(_CIRCLE), np.sin(_CIRCLE)], axis=1)


def draw_eye(
    canvas: Canvas,
    identity: Identity,
    points: np.ndarray,
    project: Projector,
    side: int,
    gaze: tuple[float, float],
) -> None:
    """Draw one eye (`side` 0 for the viewer's left): white, iris, lids, lashes and the fold of the upper lid.

    `points` are the moved landmarks, shape (68, 3); `gaze` shifts the iris to the right and downwards, in face units.
    """
    outer, upper, inner, lower = EYES[side]
    sign = (-1.0, 1.0)[side]
    lid = smooth(points[[outer, *upper, inner]], steps=6)
    floor = smooth(points[[inner, *lower, outer]], steps=6)
    opening = float(points[list(lower), 1].mean() - points[list(upper), 1].mean())
    upper_px, lower_px = project(lid), project(floor)
    outline = np.concatenate([upper_px, lower_px[1:-1]])
    middle = points[[outer, inner]].mean(axis=0)
    # The eyeball rests while the lids move: the iris keeps its place.
    ball = np.array([middle[0] + gaze[0], middle[1] - 0.012 + gaze[1]])
    iris = np.column_stack([ball + _RING * 0.115, np.full(len(_RING), float(depth(ball[0], ball[1])) + 0.02)])
    pupil = (iris - iris.mean(axis=0)) * 0.48 + iris.mean(axis=0)
    glint = project(np.array([[ball[0] - 0.035, ball[1] - 0.04, iris[0, 2] + 0.02]]))[0]

    def look(inside: Canvas) -> None:
        inside.pixels[:] = (238, 233, 228)
        inside.fill(project(iris), tone(identity.iris, 0.62))
        inside.fill(project((iris - iris.mean(axis=0)) * 0.8 + iris.mean(axis=0)), tone(identity.iris, 1.12))
        inside.fill(project(pupil), (14, 12, 12))
        inside.fill(glint + _RING * 0.026 * canvas.unit, (252, 252, 252))
        inside.stroke(upper_px + vector(0, 0.02 * canvas.unit), (150, 132, 124), 0.05)

    if opening > 0.02:
        canvas.clipped(outline, look)
    lash = tone(identity.skin, 0.22) if identity.make_up < 0.2 else (20, 14, 14)
    lash_width = 0.034 + 0.018 * identity.make_up
    canvas.stroke(lower_px, tone(identity.skin, 0.62, 0.1), 0.018)
    canvas.stroke(upper_px, lash, lash_width)
    if identity.make_up > 0.2:
        canvas.stroke(project(np.stack([lid[0], lid[0] + vector(sign * 0.07, -0.04, -0.05)])), lash, lash_width)
    fold = lid[2:-3] - (0, 0.045 + 0.035 * min(opening / 0.2, 1.0), 0)
    canvas.stroke(project(fold), tone(identity.skin, 0.66), 0.018)


def draw_brow(canvas: Canvas, identity: Identity, points: np.ndarray, project: Projector, side: int) -> None:
    """Draw one eyebrow as a tapering band with a darker core."""
    colour = tone(identity.hair, 0.7 if sum(identity.hair) < 520 else 0.6)
    colour = mix(colour, tone(identity.skin, 0.55), 0.15)
    canvas.patch(project(brow_polygon(points, side, 0.062 * identity.brow_thickness)), colour, 0.75, 0.008)
    canvas.fill(project(brow_polygon(points, side, 0.035 * identity.brow_thickness)), colour)


def shade_nose(shade: Shade, points: np.ndarray, light: float, turn: float) -> None:
    """Shade the nose's sides, back and underside, away from the light (-1 left to 1 right) and the viewer (turn)."""
    bridge, base = points[list(NOSE_BRIDGE)], points[list(NOSE_BASE)]
    for end, sign in ((0, -1.0), (4, 1.0)):
        root = bridge[0] + vector(sign * 0.13, -0.05, -0.10)
        wing = base[end]
        base_of_wing = wing * vector(0.75, 0.72, 1) - vector(0, 0, 0.03)
        top, tip = bridge[0] + vector(sign * 0.03, -0.12, 0), bridge[3] + vector(sign * 0.05, 0, 0)
        side = np.stack([top, bridge[2], tip, wing, base_of_wing, root])
        shade.add(side, -0.13 - 0.10 * max(0.0, -sign * light) - 0.10 * max(0.0, sign * turn))
        arc = np.stack(
            [
                wing + vector(-sign * 0.03, -0.13, 0.0),
                wing + vector(sign * 0.005, -0.05, 0),
                wing + vector(-sign * 0.02, 0.03, 0),
            ]
        )
        shade.add(smooth(arc), -0.42, 0.025, fine=True)
    under = np.concatenate([base, base[::-1] + vector(0, 0.05, -0.05)])
    shade.add(under, -0.34)
    shade.add(bridge[:3] + vector(0.02 * light, 0, 0), 0.16, 0.07)
    shade.add(bridge[[3]] + np.column_stack([_RING * 0.06, 0 * _CIRCLE]) - vector(0, 0.02, 0), 0.22)


def draw_nostrils(canvas: Canvas, identity: Identity, points: np.ndarray, project: Projector) -> None:
    """Draw the two nostrils and the edge of the nose's base."""
    base = points[list(NOSE_BASE)]
    dark = tone(identity.skin, 0.30, 0.12)
    for end, half in ((0, 1), (4, 3)):
        hole = 0.62 * base[half] + 0.38 * base[end] - vector(0, 0.012, 0)
        shape = np.column_stack([_RING * vector(0.052, 0.024), 0 * _CIRCLE]) + hole
        canvas.patch(project(shape), dark, 0.9, 0.006)
    canvas.stroke(project(smooth(base[1:4])), tone(identity.skin, 0.62, 0.05), 0.014)


def draw_mouth(canvas: Canvas, identity: Identity, points: np.ndarray, project: Projector, pressed: float) -> None:
    """Draw lips, and between them the mouth's inside with teeth and tongue where it is open.

    `points` are the moved landmarks, shape (68, 3); lips are `pressed` together (AU24) by 0 to 1.
    """
    outer, inner = points[list(MOUTH_OUTER)], points[list(MOUTH_INNER)]
    roof, floor = smooth(inner[:5], steps=6), smooth(inner[[4, 5, 6, 7, 0]], steps=6)
    upper_lip = np.concatenate([smooth(outer[:7], steps=5), roof[::-1]])
    lower_lip = np.concatenate([smooth(outer[[6, 7, 8, 9, 10, 11, 0]], steps=5), floor[::-1]])
    canvas.fill(project(lower_lip), identity.lip)
    canvas.fill(project(upper_lip), tone(identity.lip, 0.84))
    shine = 0.55 * outer[[8, 9, 10]] + 0.45 * inner[[5, 6, 7]]
    canvas.stroke(project(smooth(shine)), tone(identity.lip, 1.16 + 0.12 * identity.make_up), 0.028)
    gap = float(inner[6, 1] - inner[2, 1])
    if gap > 0.025:
        canvas.clipped(
            project(np.concatenate([roof, floor[1:-1]])),
            lambda c: _draw_inside(c, inner, roof, floor, project),
        )
        canvas.stroke(project(roof), tone(identity.lip, 0.5), 0.014)
    else:
        seam = smooth(np.concatenate([outer[[0]], 0.5 * (inner[1:4] + inner[[7, 6, 5]]), outer[[6]]]), steps=6)
        canvas.stroke(project(seam), tone(identity.lip, 0.40), 0.022 + 0.012 * pressed)
    for corner in (0, 6):
        spot = project(outer[[corner]] + np.column_stack([_RING * vector(0.035, 0.025), 0 * _CIRCLE]))
        canvas.patch(spot, tone(identity.skin, 0.45, 0.1), 0.35, 0.015)


def _draw_inside(canvas: Canvas, inner: np.ndarray, roof: np.ndarray, floor: np.ndarray, project: Projector) -> None:
    """Draw teeth that hang from the upper jaw, tongue and lower teeth, over darkness."""
    canvas.pixels[:] = (58, 18, 20)
    gap = float(inner[6, 1] - inner[2, 1])
    back = np.array([0, 0, -0.08])
    if gap > 0.16:
        tongue = np.column_stack([_RING * (0.6 * abs(inner[4, 0]), 0.10 + 0.16 * gap), 0 * _CIRCLE - 0.06])
        canvas.fill(project(tongue + inner[6] - vector(0, 0.02, 0)), (176, 78, 82))
    # The upper teeth are fixed to the skull: their edge stays level whatever shape the lips take.
    reach, half = min(0.115, 0.4 * gap + 0.04), abs(inner[4, 0] - inner[0, 0]) / 2
    x = np.linspace(-half, half, 9)
    edge = inner[2, 1] + reach * (1 - 0.35 * (x / half) ** 2)
    row = np.concatenate([np.column_stack([x, edge]), [(half, edge[0] - 0.4), (-half, edge[0] - 0.4)]])
    teeth = np.column_stack([row, np.full(len(row), inner[2, 2])]) + vector(inner[2, 0], 0, 0) + back
    canvas.fill(project(teeth), (236, 231, 220))
    if gap > 0.24:
        lower = floor[3:-3] * vector(0.9, 1, 1)
        row = np.concatenate([lower + vector(0, 0.03, 0), lower[::-1] - vector(0, 0.035, 0)])
        canvas.fill(project(row + back), (214, 206, 194))
    canvas.stroke(project(roof + vector(0, 0.008, 0)), (104, 62, 58), 0.028)
