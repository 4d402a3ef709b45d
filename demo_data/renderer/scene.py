"""Background, light and camera of a picture."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from demo_data.renderer.geometry import Projector
from demo_data.renderer.identity import Colour

_UNIT_GAIN = 112  # light is stored in bytes; this is a factor of 1


@dataclass(frozen=True)
class Scene:
    """Background, light and camera of one picture.

    Attributes:
        background: Two colours of the backdrop's gradient.
        texture: Contrast of the backdrop's blotches, in grey levels.
        light: Direction of the light: right and down, each in [-1, 1].
        contrast: Difference between lit and unlit side, 0 to 1.
        exposure: Factor on brightness.
        warmth: Colour cast, negative blue to positive yellow, in [-1, 1].
        blur: Gaussian blur in pixels per 112 px of image side.
        noise: Standard deviation of sensor noise in grey levels.
        jpeg_quality: Quality to store the picture with, 1 to 100.
        gaze: Shift of the irises, right and down, in face units.
        seed: Seed of backdrop and noise.
    """

    background: tuple[Colour, Colour] = ((150.0, 160.0, 170.0), (110.0, 120.0, 135.0))
    texture: float = 0.0
    light: tuple[float, float] = (-0.4, -0.5)
    contrast: float = 0.35
    exposure: float = 1.0
    warmth: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    jpeg_quality: int = 95
    gaze: tuple[float, float] = (0.0, 0.0)
    seed: int = 0

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Scene":
        """Draw a scene as in pictures from the web."""
        grey = rng.uniform(20, 225)
        first, second = np.clip(grey + rng.normal(0, 26, (2, 3)), 5, 250)
        right, down = rng.uniform(-1, 1), rng.uniform(-1, 0.4)
        across, along = rng.normal(0, (0.035, 0.016))
        return cls(
            background=(_colour(first), _colour(second)),
            texture=float(rng.uniform(0, 32)),
            light=(float(right), float(down)),
            contrast=float(rng.uniform(0.1, 0.75)),
            exposure=float(np.clip(rng.normal(1.0, 0.16), 0.6, 1.35)),
            warmth=float(np.clip(rng.normal(0, 0.45), -1, 1)),
            blur=float(rng.uniform(0, 0.9)) if rng.random() < 0.6 else 0.0,
            noise=float(rng.uniform(0, 7)),
            jpeg_quality=int(rng.integers(55, 96)),
            gaze=(float(np.clip(across, -0.08, 0.08)), float(np.clip(along, -0.04, 0.04))),
            seed=int(rng.integers(2**31)),
        )

    def filmed(self) -> "Scene":
        """Return the scene with the blur and compression of a small video frame."""
        return replace(self, blur=max(self.blur, 0.35), jpeg_quality=min(self.jpeg_quality, 82))

    def looking(self, right: float, down: float) -> "Scene":
        """Return the scene with the irises shifted, in face units."""
        return replace(self, gaze=(right, down))


def _colour(values: np.ndarray) -> Colour:
    red, green, blue = values
    return float(red), float(green), float(blue)


def backdrop(scene: Scene, side: int) -> np.ndarray:
    """Paint the background, shape (side, side, 3), uint8."""
    rng = np.random.default_rng((scene.seed, 0))
    grid = np.linspace(0, 1, 8)
    ramp = (grid[:, None] * scene.light[0] + grid[None, :] * (1 - abs(scene.light[0]))) % 1.0
    first, second = np.array(scene.background)
    coarse = first + (second - first) * ramp[..., None]
    coarse += rng.normal(0, scene.texture, (8, 8, 1)) + rng.normal(0, 0.25 * scene.texture, (8, 8, 3))
    return cv2.resize(np.clip(coarse, 0, 255).astype(np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)


def apply_light(pixels: np.ndarray, scene: Scene, project: Projector) -> np.ndarray:
    """Light a picture, shape (S, S, 3), uint8, as if the head were a smooth ball before a flat wall."""
    side, small = pixels.shape[0], 28
    grid = (np.arange(small) + 0.5) * side / small
    x = (grid[None, :] - project.centre[0]) / (1.15 * project.unit)
    y = (grid[:, None] - project.centre[1]) / (1.5 * project.unit)
    square = np.clip(x**2 + y**2, 0, 0.98)
    facing = np.sqrt(1 - square)
    lean = 1 / np.sqrt(1 + scene.light[0] ** 2 + scene.light[1] ** 2)
    lambert = (x * scene.light[0] + y * scene.light[1] + facing) * lean
    level = 1 - scene.contrast * (0.72 - np.clip(lambert, 0.0, 1.0))
    cast = 1 + scene.warmth * np.array((0.10, 0.01, -0.13))
    gain = np.clip(level[..., None] * cast * (scene.exposure * _UNIT_GAIN), 0, 255).astype(np.uint8)
    return cv2.multiply(pixels, cv2.resize(gain, (side, side), interpolation=cv2.INTER_LINEAR), scale=1 / _UNIT_GAIN)


def expose(pixels: np.ndarray, scene: Scene, frame: int = 0) -> np.ndarray:
    """Add the camera's blur and noise to a picture, shape (S, S, 3), uint8; each `frame` of a video has other noise."""
    if scene.blur > 0.15:
        pixels = cv2.GaussianBlur(pixels, (0, 0), scene.blur * pixels.shape[0] / 112)
    if scene.noise > 0:
        rng = np.random.default_rng((scene.seed, 1, frame))
        grain = rng.standard_normal((*pixels.shape[:2], 1), np.float32)
        noisy = pixels + grain * scene.noise
        pixels = np.clip(noisy, 0, 255).astype(np.uint8)
    return pixels
