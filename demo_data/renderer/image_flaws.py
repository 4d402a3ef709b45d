"""Artefacts of face-manipulating generators: warped features, a mismatched patch, blur and ringing."""

import cv2
import numpy as np

from demo_data.renderer.landmarks import EYES, MOUTH_OUTER


def generated_look(image: np.ndarray, landmarks: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Make a drawn face, shape (S, S, 3), uint8, look like a generator's output of `side` pixels, at most S.

    Every artefact varies in strength. `landmarks` are pixels of the image, shape (68, 2).
    """
    warped = _warp(image, landmarks, rng)
    patched = _mismatch(warped, landmarks, rng)
    size = image.shape[0]
    soft = cv2.GaussianBlur(patched, (0, 0), rng.uniform(0.5, 0.9) * size / side)
    small = cv2.resize(soft, (side, side), interpolation=cv2.INTER_AREA)
    return _ring(small, rng)


def _warp(image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shift mouth and eyes a little, each as a soft lump."""
    size = image.shape[0]
    x, y = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    sources_x, sources_y = x.copy(), y.copy()
    lumps = [list(MOUTH_OUTER[:4]), list(MOUTH_OUTER[3:7])]
    lumps += [[outer, *upper, inner, *lower] for outer, upper, inner, lower in EYES]
    for points in lumps:
        centre = landmarks[points].mean(axis=0) + rng.normal(0, 0.03 * size, 2)
        shift = rng.normal(0, 0.014 * size, 2)
        reach = rng.uniform(0.07, 0.13) * size
        weight = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * reach**2)).astype(np.float32)
        sources_x += weight * np.float32(shift[0])
        sources_y += weight * np.float32(shift[1])
    return cv2.remap(image, sources_x, sources_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _mismatch(image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change colour and sharpness of the region around the mouth, as if it had been pasted."""
    size = image.shape[0]
    points = landmarks[list(MOUTH_OUTER)]
    centre, half = points.mean(axis=0), np.ptp(points, axis=0).max() * 0.8
    mask = np.zeros(image.shape[:2], np.float32)
    middle = (int(centre[0]), int(centre[1]))
    cv2.ellipse(mask, middle, (int(half) + 1, int(0.7 * half) + 1), 0, 0, 360, 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 0.05 * size)[..., None]
    tint = rng.normal(1.0, 0.035, 3).astype(np.float32)
    pasted = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.1)).astype(np.float32) * tint
    return np.clip(image + (pasted - image) * mask, 0, 255).astype(np.uint8)


def _ring(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sharpen too much, as generators do: bright and dark seams run along the edges."""
    halo = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 1.4))
    amount = rng.uniform(0.2, 1.1)
    return cv2.addWeighted(image, 1 + amount, halo, -amount, 0)
