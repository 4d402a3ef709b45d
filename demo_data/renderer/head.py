"""Drawing of the head: hair, neck, ears, outline of the skin, beard and glasses."""

import cv2
import numpy as np

from demo_data.renderer.canvas import Canvas
from demo_data.renderer.geometry import Projector, smooth, vector
from demo_data.renderer.identity import Colour, Identity
from demo_data.renderer.landmarks import BROWS, JAW, MOUTH_OUTER, NOSE_BASE, depth

_CIRCLE = np.linspace(0, 2 * np.pi, 28, endpoint=False)
_HAIRLINE = np.linspace(0.12, np.pi - 0.12, 11)
_BROW_STEPS = 5
_ALONG_BROW = np.linspace(0, 1, 4 * _BROW_STEPS + 1)
_BROW_TAPER = (0.25 + 0.75 * _ALONG_BROW**0.6) * np.where(_ALONG_BROW > 0.94, 0.7, 1.0)


def tone(colour: Colour, factor: float, red: float = 0.0) -> Colour:
    """Scale a colour's brightness and add a share of red."""
    r, g, b = colour[0] * factor + 90 * red, colour[1] * factor - 15 * red, colour[2] * factor - 10 * red
    return min(max(r, 0.0), 255.0), min(max(g, 0.0), 255.0), min(max(b, 0.0), 255.0)


def on_face(x: np.ndarray, y: np.ndarray, raised: float = 0.0) -> np.ndarray:
    """Lift flat face coordinates onto the face's surface, shape (N, 3)."""
    return np.stack([x, y, depth(x, y) + raised], axis=1)


def ellipsoid(project: Projector, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
    """Return an ellipsoid's projected outline as a closed polygon."""
    rotated = project.rotation * np.array(radii)
    # The outline of A·sphere under orthographic projection is the ellipse of the first two rows' Gram matrix.
    axes = np.linalg.cholesky(rotated[:2] @ rotated[:2].T)
    middle = project(np.array([centre]))[0]
    return middle + (axes @ np.stack([np.cos(_CIRCLE), np.sin(_CIRCLE)])).T * project.unit


def skull(identity: Identity, project: Projector, growth: float = 1.0) -> np.ndarray:
    """Return the outline of the skull (without jaw), grown by a factor for hair or a hat."""
    radii = (1.01 * identity.face_width * growth, 1.02 * growth, 1.05 * growth)
    return ellipsoid(project, (0.0, -0.22, -0.38), radii)


def face_outline(identity: Identity, points: np.ndarray, project: Projector) -> np.ndarray:
    """Return the outline of the face's skin: jaw, cheeks and the arc of the hairline."""
    height = 0.95 * identity.hairline if identity.hair_style != "bald" else 1.05
    across, up = np.cos(_HAIRLINE), np.sin(_HAIRLINE)
    x = 0.95 * identity.face_width * np.sign(across) * np.abs(across) ** 0.62
    arc = np.stack([x, -0.04 - height * up, -0.2 + 0.6 * up**1.4], axis=1)
    y = np.array([0.15, 0.35, 0.55])
    cheek = [on_face(sign * np.array([0.9, 0.88, 0.8]) * identity.face_width, y) for sign in (-1, 1)]
    body = project(np.concatenate([points[list(JAW)], arc, *cheek]))
    hull = cv2.convexHull(body.astype(np.float32))[:, 0].astype(np.float64)
    return smooth(hull, closed=True, steps=3)


def draw_behind(canvas: Canvas, identity: Identity, points: np.ndarray, project: Projector) -> None:
    """Draw everything behind the face: back hair, neck, shoulders, skull and ears."""
    unit = project.unit
    chin = project(points[[8]])[0]
    neck = project.centre + vector(0, 0.62 * unit)
    if identity.hair_style == "long":
        flow = np.array([(-1.12, -0.3), (-1.2, 0.5), (-1.12, 1.5), (1.12, 1.5), (1.2, 0.5), (1.12, -0.3), (0, -1.2)])
        canvas.fill(
            smooth(neck + flow * vector(unit, unit) - vector(0, 0.3 * unit), closed=True),
            tone(identity.hair, 0.75),
        )
    elif identity.hair_style == "bun":
        canvas.fill(ellipsoid(project, (0.0, -1.25, -0.55), (0.42, 0.4, 0.4)), tone(identity.hair, 0.85))
    low = max(chin[1], neck[1] + 0.45 * unit)
    shoulders = np.array([(-2.4, 2.6), (-1.9, 0.75), (-0.7, 0.42), (0.7, 0.42), (1.9, 0.75), (2.4, 2.6)]) * unit
    column = np.array([(-0.60, -0.7), (-0.58, 0.2), (-0.75, 0.55), (0, 0.8), (0.75, 0.55), (0.58, 0.2), (0.60, -0.7)])
    canvas.fill(smooth(shoulders + vector(neck[0], low), closed=True), identity.clothes)
    canvas.fill(smooth(column * unit + vector(neck[0], low), closed=True), tone(identity.skin, 0.72))
    growth = {"curly": 1.16, "beanie": 1.08, "bald": 1.0}.get(identity.hair_style, 1.07)
    crown = skull(identity, project, growth)
    colour = identity.skin if identity.hair_style == "bald" else identity.hair
    canvas.fill(crown, tone(colour, 0.92))
    if identity.hair_style == "curly":
        locks = np.random.default_rng(identity.marks_seed)
        for x, y in crown[locks.permutation(len(crown))]:
            radius = unit * locks.uniform(0.13, 0.22)
            ring = np.stack([np.cos(_CIRCLE), np.sin(_CIRCLE)], axis=1) * radius
            canvas.fill(ring + vector(x, y), tone(identity.hair, locks.uniform(0.8, 1.1)))
    for sign in (-1, 1):
        _draw_ear(canvas, identity, project, sign)


def _draw_ear(canvas: Canvas, identity: Identity, project: Projector, sign: int) -> None:
    if identity.hair_style == "long":
        return
    size, x = identity.ear_size, sign * 1.0 * identity.face_width
    y, z = np.sin(_CIRCLE), np.cos(_CIRCLE)
    rim = np.stack([x + sign * (0.08 + 0.05 * z), 0.22 + 0.27 * size * y, -0.34 + 0.15 * size * z], axis=1)
    canvas.fill(project(rim), tone(identity.skin, 0.9, 0.08))
    canvas.fill(project(rim * vector(1, 0.6, 1) + vector(0, 0.09, 0.03)), tone(identity.skin, 0.72, 0.1))


def draw_hair(canvas: Canvas, identity: Identity, points: np.ndarray, project: Projector) -> None:
    """Draw the hair or hat in front of the forehead."""
    style, width, line = identity.hair_style, identity.face_width, identity.hairline
    colour = identity.hair
    if style == "bald":
        return
    if style == "beanie":
        _draw_beanie(canvas, identity, project)
        return
    crown = skull(identity, project, 1.16 if style == "curly" else 1.07)
    fronts = {
        "short": [(-1.0, 0.0), (-0.86, -0.52), (-0.5, -0.80), (0, -0.84), (0.5, -0.80), (0.86, -0.52), (1.0, 0.0)],
        "fringe": [(-1.0, 0.05), (-0.93, -0.36), (-0.5, -0.52), (0, -0.49), (0.5, -0.52), (0.93, -0.36), (1.0, 0.05)],
        "parted": [(-1.0, 0.02), (-0.88, -0.40), (-0.62, -0.68), (-0.3, -0.88), (0.3, -0.62), (0.85, -0.36), (1, 0.02)],
        "long": [(-1.0, 0.55), (-0.90, -0.30), (-0.45, -0.74), (0, -0.90), (0.45, -0.74), (0.90, -0.30), (1.0, 0.55)],
        "bun": [(-0.99, -0.1), (-0.84, -0.55), (-0.48, -0.83), (0, -0.9), (0.48, -0.83), (0.84, -0.55), (0.99, -0.1)],
        "curly": [(-1.04, 0.1), (-0.88, -0.44), (-0.5, -0.70), (0, -0.74), (0.5, -0.70), (0.88, -0.44), (1.04, 0.1)],
    }  # fmt: skip
    front = np.array(fronts[style]) * vector(width, 1) - (0, 0.55 * (line - 1))
    if style == "parted" and identity.marks_seed % 2:
        front = front[::-1] * vector(-1, 1)
    rise = np.sqrt(np.clip(1 - (front[:, 0] / 1.1) ** 2, 0.0, 1))
    edge = smooth(np.column_stack([front, -0.24 + 0.68 * rise]), steps=5)
    shape = _above(project(edge), project)
    canvas.clipped(crown, lambda inside: inside.fill(shape, colour))
    for share in (0.18, 0.38, 0.62, 0.82):
        start = edge[int(share * (len(edge) - 1))]
        lock = np.stack(
            [
                start,
                start * vector(0.9, 1, 0.8) - vector(0, 0.18, 0.0),
                start * vector(0.55, 1, 0.5) - vector(0, 0.38, 0.1),
            ]
        )
        bright = 1.25 if share in (0.38, 0.82) else 0.8
        canvas.stroke(project(smooth(lock)), tone(colour, bright), 0.03)


def _above(edge: np.ndarray, project: Projector) -> np.ndarray:
    """Close a curve that crosses the face, left to right, by the space above it.

    On a turned head the curve's far end folds back behind the horizon: that part is omitted.
    """
    right, up = project.rotation_in_plane
    along = edge @ right
    first, last = int(along.argmin()), int(along.argmax())
    seen = edge[min(first, last) : max(first, last) + 1]
    far = 3 * project.unit * up
    return np.concatenate([seen, seen[[-1]] + far, seen[[0]] + far])


def _draw_beanie(canvas: Canvas, identity: Identity, project: Projector) -> None:
    width = identity.face_width
    band = np.array([(-1.05, -0.45), (-0.6, -0.68), (0, -0.74), (0.6, -0.68), (1.05, -0.45)]) * vector(width, 1)
    rise = np.sqrt(np.clip(1 - (band[:, 0] / 1.1) ** 2, 0.0, 1))
    low = smooth(np.column_stack([band, -0.2 + 0.72 * rise]))
    high = low * vector(1, 1, 0.95) - vector(0, 0.27, 0.02)
    top = np.array(
        [(0.95, -0.9, -0.3), (0.55, -1.38, -0.3), (0, -1.5, -0.3), (-0.55, -1.38, -0.3), (-0.95, -0.9, -0.3)]
    )
    cap = smooth(top * vector(width, 1, 1), closed=False)
    canvas.fill(np.concatenate([project(high), project(cap)]), identity.accent)
    canvas.fill(np.concatenate([project(low), project(high[::-1])]), tone(identity.accent, 0.8))


def draw_beard(canvas: Canvas, identity: Identity, points: np.ndarray, project: Projector) -> None:
    """Draw the beard under the lips' layer, following jaw and mouth as they move."""
    if identity.beard == "none":
        return
    colour, jaw, lips = tone(identity.hair, 0.85), points[list(JAW)], points[list(MOUTH_OUTER)]
    base, corners = points[list(NOSE_BASE)], lips[[0, 6]]
    if identity.beard in ("stubble", "full"):
        lift, drop = vector(0.16, 0.14, 0), vector(0.06, -0.12, 0)
        left = [jaw[3] * vector(0.9, 1, 1), corners[0] - lift, base[0] - drop]
        right = [
            base[4] + drop * vector(1, -1, 1),
            corners[1] + lift * vector(1, -1, 1),
            jaw[13] * vector(0.9, 1, 1),
        ]
        cheeks = np.stack(left + right)
        area = np.concatenate([jaw[2:15] * vector(0.99, 1.0, 1), cheeks[::-1]])
        canvas.patch(project(area), colour, 0.30 if identity.beard == "stubble" else 0.82, 0.05)
    if identity.beard in ("moustache", "goatee"):
        edge = np.stack([corners[0], base[0], base[2], base[4], corners[1]])
        shift = [(-0.05, 0.03, 0), (-0.02, 0.13, 0), (0, 0.06, 0), (0.02, 0.13, 0), (0.05, 0.03, 0)]
        top = edge + np.array(shift)
        canvas.patch(project(np.concatenate([smooth(top), lips[5:0:-1]])), colour, 0.85, 0.02)
    if identity.beard == "goatee":
        low, inwards = vector(0, 0.05, 0), vector(0.8, 0.97, 1)
        chin = np.stack([lips[10] + low, jaw[7] * inwards, jaw[8], jaw[9] * inwards, lips[8] + low])
        canvas.patch(project(smooth(chin, closed=True)), colour, 0.85, 0.03)


def draw_glasses(canvas: Canvas, identity: Identity, points: np.ndarray, project: Projector) -> None:
    """Draw spectacles before the eyes."""
    if identity.glasses == "none":
        return
    power = 0.55 if identity.glasses == "square" else 1.0
    colour, width = tone(identity.accent, 0.45), 0.028 if identity.glasses == "thin" else 0.05
    bridge = []
    for sign in (-1, 1):
        centre = sign * 0.46 * identity.eye_spacing
        ring = np.stack([np.cos(_CIRCLE), np.sin(_CIRCLE)], axis=1)
        ring = np.sign(ring) * np.abs(ring) ** power * vector(0.31, 0.25) + vector(centre, 0.03)
        frame = project(np.column_stack([ring, np.full(len(ring), 0.72) - 0.35 * (ring[:, 0] ** 2)]))
        canvas.patch(frame, (225, 235, 245), 0.10)
        canvas.stroke(frame, colour, width, closed=True)
        temple = np.array([[centre + sign * 0.31, -0.02, 0.52], [sign * 1.0 * identity.face_width, 0.05, -0.2]])
        if sign * project.rotation[0, 2] <= 0.25:
            canvas.stroke(project(temple), colour, width)
        bridge.append([centre - sign * 0.3, 0.0, 0.71])
    canvas.stroke(project(np.array(bridge)), colour, width)


def brow_polygon(points: np.ndarray, side: int, thickness: float) -> np.ndarray:
    """Return a brow's outline: thin at its outer end, thick towards the inner one, shape (N, 3)."""
    line = smooth(points[list(BROWS[side])], steps=_BROW_STEPS)
    half = thickness * _BROW_TAPER
    offset = np.stack([np.zeros_like(half), half, np.zeros_like(half)], axis=1)
    return np.concatenate([line - offset, (line + offset)[::-1]])
