"""Drawing of a face from person, expression, pose and scene to picture and landmarks."""

from typing import Final, NamedTuple

import cv2
import numpy as np

from affect.labels import ACTION_UNITS
from demo_data.action_units import RENDERED_UNITS, UNIT_INDEX, deform
from demo_data.renderer.canvas import Canvas
from demo_data.renderer.facial_features import draw_brow, draw_eye, draw_mouth, draw_nostrils, shade_nose
from demo_data.renderer.geometry import Pose, Projector
from demo_data.renderer.head import (
    draw_beard,
    draw_behind,
    draw_glasses,
    draw_hair,
    face_outline,
    on_face,
    skull,
    tone,
)
from demo_data.renderer.identity import Identity
from demo_data.renderer.landmarks import neutral_landmarks
from demo_data.renderer.scene import Scene, apply_light, backdrop, expose
from demo_data.renderer.shading import Shade
from demo_data.renderer.wrinkles import shade_skin

RENDERER_VERSION: Final = 1
"""Increase when drawn pictures change; sets drawn by another version are drawn again."""

_SUPERSAMPLING: Final = 2
_RING: Final = np.linspace(0, 2 * np.pi, 14, endpoint=False)


class Rendering(NamedTuple):
    """A drawn face: `image` (S, S, 3) uint8 RGB; `landmarks` (68, 2) float32 in pixels, x then y."""

    image: np.ndarray
    landmarks: np.ndarray


def render(
    identity: Identity, action_units: np.ndarray, pose: Pose, scene: Scene, size: int = 112, *, frame: int = 0
) -> Rendering:
    """Draw a face.

    Args:
        identity: The person.
        action_units: Intensities in [0, 1] (clipped): shape (12,) in the order of `affect.labels.ACTION_UNITS`, or
            (19,) or (2, 19) in that of `RENDERED_UNITS`, the latter by side of the face.
        pose: Where the head is and where it faces.
        scene: Background, light and camera. Its JPEG quality is not applied here.
        size: Side of the square picture in pixels.
        frame: Number of the picture within a video: each has different sensor noise.

    Returns:
        The picture and the landmarks' pixel coordinates, which may lie outside of it.

    Raises:
        ValueError: If `action_units` has another shape.
    """
    active = _by_side(action_units)
    points = deform(neutral_landmarks(identity), active)
    side = size * _SUPERSAMPLING
    project = Projector(pose, side)
    canvas = Canvas(backdrop(scene, side), project.unit)

    draw_behind(canvas, identity, points, project)
    outline = face_outline(identity, points, project)
    canvas.fill(outline, identity.skin)
    if identity.hair_style == "bald":
        canvas.fill(skull(identity, project), identity.skin)
    _draw_blush(canvas, identity, project)

    shade = Shade()
    shade_nose(shade, points, light=scene.light[0], turn=float(project.rotation[0, 2]))
    shade_skin(shade, identity, points, active)
    shade.paint(canvas, project, outline)

    draw_beard(canvas, identity, points, project)
    draw_mouth(canvas, identity, points, project, float(active[:, UNIT_INDEX["AU24"]].mean()))
    draw_nostrils(canvas, identity, points, project)
    for eye in (0, 1):
        draw_eye(canvas, identity, points, project, eye, scene.gaze)
        draw_brow(canvas, identity, points, project, eye)
    draw_hair(canvas, identity, points, project)
    draw_glasses(canvas, identity, points, project)

    lit = apply_light(canvas.pixels, scene, project)
    image = expose(cv2.resize(lit, (size, size), interpolation=cv2.INTER_AREA), scene, frame)
    return Rendering(image, (project(points) / _SUPERSAMPLING).astype(np.float32))


def _by_side(action_units: np.ndarray) -> np.ndarray:
    values = np.clip(np.asarray(action_units, dtype=np.float64), 0.0, 1.0)
    full = np.zeros((2, len(RENDERED_UNITS)))
    if values.shape == (len(ACTION_UNITS),):
        full[:, : len(ACTION_UNITS)] = values
    elif values.shape in ((len(RENDERED_UNITS),), full.shape):
        full[:] = values
    else:
        raise ValueError(
            f"action_units has shape {values.shape}; give ({len(ACTION_UNITS)},), ({len(RENDERED_UNITS)},) "
            f"or {full.shape}"
        )
    return full


def _draw_blush(canvas: Canvas, identity: Identity, project: Projector) -> None:
    """Draw the cheeks' blush."""
    for sign in (-1, 1):
        blush = on_face(sign * 0.6 + 0.24 * np.cos(_RING), 0.42 + 0.17 * np.sin(_RING))
        canvas.patch(project(blush), tone(identity.skin, 0.96, 0.35), 0.25 + 0.3 * identity.make_up, 0.09)
