"""Supersampled picture with drawing operations: fill, stroke, soft patch, clipped drawing."""

from collections.abc import Callable

import cv2
import numpy as np

from demo_data.renderer.identity import Colour

SHIFT = 4


def to_fixed(points: np.ndarray) -> np.ndarray:
    """Convert pixel coordinates to OpenCV's fixed-point ones (where pixel centres are at whole numbers)."""
    return np.floor(points * (1 << SHIFT) - ((1 << SHIFT) - 1) / 2).astype(np.int32)


class Canvas:
    """An RGB picture, uint8, drawn on in pixel coordinates; `unit` is half a face's width in pixels."""

    def __init__(self, pixels: np.ndarray, unit: float, origin: tuple[int, int] = (0, 0)) -> None:
        self.pixels = pixels
        self.unit = unit
        self.origin = np.array(origin)

    def fill(self, points: np.ndarray, colour: Colour) -> None:
        """Fill a polygon, shape (N, 2)."""
        cv2.fillPoly(self.pixels, [to_fixed(points - self.origin)], colour, cv2.LINE_AA, SHIFT)

    def stroke(self, points: np.ndarray, colour: Colour, width: float, *, closed: bool = False) -> None:
        """Draw a line through points; its width is in face units and at least one pixel."""
        thickness = max(1, round(width * self.unit))
        path = [to_fixed(points - self.origin)]
        cv2.polylines(self.pixels, path, closed, colour, thickness, cv2.LINE_AA, SHIFT)

    def patch(self, points: np.ndarray, colour: Colour, opacity: float, blur: float = 0.0) -> None:
        """Draw a translucent polygon over the picture, its edge blurred by `blur` face units."""
        box = self._box(points, margin=2.5 * blur * self.unit + 1)
        if box is None or opacity <= 0:
            return
        x0, y0, x1, y1 = box
        # A wide blur hides that its mask is painted at a quarter of the resolution.
        coarse = 4 if blur * self.unit > 3 else 1
        mask = np.zeros((-(-(y1 - y0) // coarse), -(-(x1 - x0) // coarse)), np.uint8)
        cv2.fillPoly(mask, [to_fixed((points - self.origin - (x0, y0)) / coarse)], 255, cv2.LINE_AA, SHIFT)
        if blur > 0:
            mask = cv2.GaussianBlur(mask, (0, 0), max(blur * self.unit / coarse, 0.4))
        if coarse > 1:
            mask = cv2.resize(mask, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
        below = self.pixels[y0:y1, x0:x1]
        above = np.empty_like(below)
        above[:] = colour
        _blend(below, above, mask, opacity)

    def clipped(self, outline: np.ndarray, draw: "Callable[[Canvas], None]", opacity: float = 1.0) -> None:
        """Draw something clipped to a polygon."""
        box = self._box(outline, margin=1)
        if box is None:
            return
        x0, y0, x1, y1 = box
        below = self.pixels[y0:y1, x0:x1]
        inside = Canvas(below.copy(), self.unit, (int(self.origin[0]) + x0, int(self.origin[1]) + y0))
        draw(inside)
        mask = np.zeros(below.shape[:2], np.uint8)
        cv2.fillPoly(mask, [to_fixed(outline - inside.origin)], 255, cv2.LINE_AA, SHIFT)
        _blend(below, inside.pixels, mask, opacity)

    def _box(self, points: np.ndarray, margin: float) -> tuple[int, int, int, int] | None:
        """Return the part of the picture that a polygon and its margin touch, or None."""
        height, width = self.pixels.shape[:2]
        low = np.floor(points.min(axis=0) - self.origin - margin).astype(int)
        high = np.ceil(points.max(axis=0) - self.origin + margin).astype(int) + 1
        x0, y0 = max(low[0], 0), max(low[1], 0)
        x1, y1 = min(high[0], width), min(high[1], height)
        return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def _blend(below: np.ndarray, above: np.ndarray, mask: np.ndarray, opacity: float) -> None:
    weight = cv2.merge([mask] * 3).astype(np.float32)
    weight *= opacity / 255
    mixed = below + (above.astype(np.float32) - below) * weight
    below[:] = np.round(mixed).astype(np.uint8)
