"""Shading of the skin: bulges, hollows and wrinkles, collected first and then painted at once."""

import cv2
import numpy as np

from demo_data.renderer.canvas import SHIFT, Canvas, to_fixed
from demo_data.renderer.geometry import Projector

_FLAT = 128
_COARSE = 0.5  # soft shade is painted at half resolution: its blur hides that


class Shade:
    """Collects strokes and spots of shade in face coordinates."""

    def __init__(self) -> None:
        self._shapes: list[tuple[np.ndarray, float, float, bool]] = []

    def add(self, points: np.ndarray, amount: float, width: float = 0.0, *, fine: bool = False) -> None:
        """Darken (negative amount) or lighten along a line, or inside a polygon where `width` is 0.

        Args:
            points: Shape (N, 3), face coordinates.
            amount: Change of brightness in [-1, 1]; less than a hundredth is not painted.
            width: Line width in face units; 0 fills the polygon.
            fine: Keep the edge sharp, for a wrinkle; otherwise it is blurred, for a bulge or hollow.
        """
        if abs(amount) >= 0.01:
            self._shapes.append((points, amount, width, fine))

    def paint(self, canvas: Canvas, project: Projector, outline: np.ndarray) -> None:
        """Multiply the shade onto a canvas inside a polygon, shape (N, 2) in pixels."""
        height, width = canvas.pixels.shape[:2]
        soft = np.full((round(height * _COARSE), round(width * _COARSE)), _FLAT, np.uint8)
        fine = np.full((height, width), _FLAT, np.uint8)
        flat = project(np.concatenate([shape[0] for shape in self._shapes]))
        fixed, coarse = to_fixed(flat), to_fixed(flat * _COARSE)
        start = 0
        for points, amount, line_width, is_fine in self._shapes:
            part = slice(start, start + len(points))
            start += len(points)
            layer, path, unit = (fine, fixed[part], canvas.unit) if is_fine else (soft, coarse[part], canvas.unit / 2)
            value = min(max(_FLAT * (1 + amount), 0.0), 255.0)
            if line_width > 0:
                thickness = max(1, round(line_width * unit))
                cv2.polylines(layer, [path], False, value, thickness, cv2.LINE_AA, SHIFT)
            else:
                cv2.fillPoly(layer, [path], value, cv2.LINE_AA, SHIFT)
        soft = cv2.GaussianBlur(soft, (0, 0), 0.045 * canvas.unit * _COARSE)
        soft = cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)
        fine = cv2.GaussianBlur(fine, (0, 0), max(0.011 * canvas.unit, 0.5))
        both = cv2.multiply(soft, fine, scale=1 / _FLAT)
        skin = np.zeros((height, width), np.uint8)
        cv2.fillPoly(skin, [to_fixed(outline)], 255, cv2.LINE_AA, SHIFT)
        both[skin < 128] = _FLAT
        cv2.multiply(canvas.pixels, cv2.merge([both] * 3), dst=canvas.pixels, scale=1 / _FLAT)
