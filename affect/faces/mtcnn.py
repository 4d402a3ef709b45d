"""MTCNN (Zhang et al. 2016, arXiv 1604.02878) with the networks and weights of the package facenet-pytorch.

The cascade is that of the package, with its thresholds: a small network proposes boxes on a pyramid of reduced
pictures, two larger ones look at the proposals. It differs in that OpenCV reduces pictures and crops, each core takes
pictures by itself, and a picture's faces do not depend on the batch.
"""

import importlib
import importlib.util
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import batched_nms, nms

from affect.errors import MissingFileError
from affect.faces.detection import Detections

PACKAGE: Final = "facenet_pytorch"
PROPOSAL_SIDE: Final = 12
"""Side of the proposal network's window in pixels."""
_STEP: Final = 0.709
_THRESHOLDS: Final = (0.6, 0.7, 0.7)
_AT_ONCE: Final = 512
"""Crops that a network looks at together."""


class MtcnnDetector:
    """Find faces with MTCNN.

    Args:
        min_face: Side of the smallest face that is looked for, in pixels; twice as large takes a quarter of the time.
        min_confidence: Faces of a lower confidence are left out.
        device: Where the networks compute.
        num_threads: Pictures looked at together on a CPU; by default as many as PyTorch has threads.

    Raises:
        MissingFileError: If facenet-pytorch is not installed.
    """

    def __init__(
        self, min_face: int = 40, min_confidence: float = 0.9, device: str = "cpu", num_threads: int | None = None
    ) -> None:
        self.min_face = min_face
        self.min_confidence = min_confidence
        self.device = torch.device(device)
        self.proposal, self.refinement, self.output = (network.to(self.device) for network in _load_networks())
        self._pool = _single_threaded(num_threads or torch.get_num_threads())

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Find the faces of each picture, RGB (H, W, 3)."""
        # One picture goes through the pool too: in one thread and in several, sums differ in their last digits.
        return list((self._pool.map if self.device.type == "cpu" else map)(self._detect, images))

    @torch.inference_mode()
    def _detect(self, image: NDArray[np.uint8]) -> Detections:
        boxes = self._propose(image)
        for network, side, threshold in ((self.refinement, 24, _THRESHOLDS[1]), (self.output, 48, _THRESHOLDS[2])):
            boxes, crops = _crops(image, boxes, side)
            if not len(crops):
                return _nothing()
            shift, *_, score = self._classify(network, crops)
            kept = score[:, 1] > threshold
            boxes, shift, score = boxes[kept], shift[kept], score[kept, 1]
            if side == 24:
                chosen = nms(boxes, score, 0.7)
                boxes = _squared(_shifted(boxes[chosen], shift[chosen]))
        boxes = _shifted(boxes, shift)
        chosen = _without_nested(boxes.numpy(), score.numpy())
        chosen = chosen[score.numpy()[chosen] >= self.min_confidence]
        return Detections(boxes.numpy()[chosen], score.numpy()[chosen])

    def _propose(self, image: NDArray[np.uint8]) -> Tensor:
        """Return proposed boxes (N, 4) of the pyramid's levels."""
        height, width = image.shape[:2]
        scale = PROPOSAL_SIDE / self.min_face
        found: list[Tensor] = []
        levels: list[Tensor] = []
        level = image
        while min(height, width) * scale >= PROPOSAL_SIDE:
            # Each level is made from the one before: what is read shrinks with it.
            level = cv2.resize(level, (int(width * scale + 1), int(height * scale + 1)), interpolation=cv2.INTER_AREA)
            shift, score = self.proposal(self._normalised(level[None]))
            found.append(_proposals(shift[0].cpu(), score[0, 1].cpu(), scale))
            levels.append(torch.full((len(found[-1]),), len(levels)))
            scale *= _STEP
        if not found:
            return torch.empty(0, 4)
        rows, level_of = torch.cat(found), torch.cat(levels)
        rows = rows[batched_nms(rows[:, :4], rows[:, 4], level_of, 0.5)]
        rows = rows[nms(rows[:, :4], rows[:, 4], 0.7)]
        side = (rows[:, 2:4] - rows[:, :2]).repeat(1, 2)
        return _squared(rows[:, :4] + rows[:, 5:] * side)

    def _classify(self, network: nn.Module, crops: NDArray[np.uint8]) -> list[Tensor]:
        parts = [network(self._normalised(crops[start : start + _AT_ONCE])) for start in range(0, len(crops), _AT_ONCE)]
        return [torch.cat(columns).cpu() for columns in zip(*parts, strict=True)]

    def _normalised(self, images: NDArray[np.uint8]) -> Tensor:
        pixels = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float()
        return pixels.sub_(127.5).mul_(1 / 128)


def _load_networks() -> list[nn.Module]:
    if importlib.util.find_spec(PACKAGE) is None:
        raise MissingFileError(
            "the face detector needs the package facenet-pytorch: pip install --no-deps facenet-pytorch==2.6.0"
        )
    package: Any = importlib.import_module(f"{PACKAGE}.models.mtcnn")
    weights = Path(package.__file__).parents[1] / "data"
    networks = []
    for kind, name in ((package.PNet, "pnet"), (package.RNet, "rnet"), (package.ONet, "onet")):
        network = kind(pretrained=False)
        network.load_state_dict(torch.load(weights / f"{name}.pt", map_location="cpu", weights_only=True))
        networks.append(network.eval().requires_grad_(False))
    return networks


def _single_threaded(num_threads: int) -> ThreadPoolExecutor:
    """Make a pool in whose threads PyTorch computes with one thread each; elsewhere nothing changes."""

    def begin() -> None:
        torch.get_num_threads()  # PyTorch settles a thread's number when first asked: before it is set here
        torch.set_num_threads(1)

    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(num_threads, "mtcnn", initializer=begin)
    everyone = threading.Barrier(num_threads + 1)
    for _ in range(num_threads):
        pool.submit(everyone.wait)
    everyone.wait()
    torch.set_num_threads(before)  # the number is also the default of threads that are started later
    return pool


def _nothing() -> Detections:
    return Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32))


def _proposals(shift: Tensor, score: Tensor, scale: float) -> Tensor:
    """Return box, score and regression of the windows that may hold a face, shape (N, 9)."""
    row, column = (score >= _THRESHOLDS[0]).nonzero(as_tuple=True)
    corner = torch.stack([column, row], 1) * 2.0
    low, high = ((corner + 1) / scale).floor(), ((corner + PROPOSAL_SIDE) / scale).floor()
    return torch.cat([low, high, score[row, column, None], shift[:, row, column].T], 1)


def _shifted(boxes: Tensor, shift: Tensor) -> Tensor:
    """Move each side of a box by a share of its size."""
    return boxes + shift * (boxes[:, 2:] - boxes[:, :2] + 1).repeat(1, 2)


def _squared(boxes: Tensor) -> Tensor:
    size = boxes[:, 2:] - boxes[:, :2]
    side = size.max(1, keepdim=True).values
    low = boxes[:, :2] + size / 2 - side / 2
    return torch.cat([low, low + side], 1)


def _crops(image: NDArray[np.uint8], boxes: Tensor, side: int) -> tuple[Tensor, NDArray[np.uint8]]:
    """Cut boxes out, clipped to the picture, and resize them; boxes outside it are dropped."""
    height, width = image.shape[:2]
    edges = boxes.trunc().int().numpy()
    low = np.maximum(edges[:, :2], 1) - 1
    high = np.minimum(edges[:, 2:], [width, height])
    inside = (high > low).all(1)
    crops = [
        cv2.resize(image[top:bottom, left:right], (side, side), interpolation=cv2.INTER_AREA)
        for (left, top), (right, bottom) in zip(low[inside], high[inside], strict=True)
    ]
    return boxes[torch.from_numpy(inside)], np.stack(crops) if crops else np.empty((0, side, side, 3), np.uint8)


def _without_nested(boxes: NDArray[np.float32], score: NDArray[np.float32]) -> NDArray[np.int64]:
    """Choose boxes by falling score; one that shares over 0.7 of the smaller area with a chosen one is left out."""
    order = np.argsort(-score, kind="stable")
    area = (boxes[:, 2:] - boxes[:, :2] + 1).prod(1)
    chosen: list[int] = []
    while len(order):
        best, order = order[0], order[1:]
        chosen.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        high = np.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = (high - low + 1).clip(0).prod(1)
        order = order[shared / np.minimum(area[best], area[order]) <= 0.7]
    return np.array(chosen, np.int64)
