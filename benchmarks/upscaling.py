"""Benchmark of our batched Real-ESRGAN engine against the package's RealESRGANer, with the same weights.

    python -m benchmarks.upscaling [--faces 16] [--rounds 8] [--weights packaged:x4plus]

Before timing, the two pictures of every face are compared. Reading and writing files is left out on both sides.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from affect.labels import ACTION_UNITS
from affect.super_resolution.batched import BatchedUpscaler
from affect.super_resolution.load_network import load_network
from affect.super_resolution.realesrgan_engine import RealESRGANUpscaler
from affect.super_resolution.upscaler import Upscaler
from benchmarks.timing import interleaved, parse_options, ratio_table, write_results
from demo_data.renderer.face import render
from demo_data.renderer.geometry import Pose
from demo_data.renderer.identity import Identity
from demo_data.renderer.scene import Scene

PEER = "RealESRGANer"


def draw_faces(count: int, size: int) -> Tensor:
    """Draw faces of different people, uint8 RGB, shape (count, 3, size, size)."""
    faces = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        units = rng.uniform(0, 0.4, len(ACTION_UNITS))
        faces.append(render(Identity.sample(rng), units, Pose.sample(rng, scale=0.35), Scene.sample(rng), size).image)
    return torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2)


def engines(weights: str, outscale: float, device: torch.device) -> dict[str, Upscaler]:
    """Build the peer and our engine in every precision useful on a device."""
    network = load_network(weights)
    on_gpu = device.type == "cuda"
    precisions = ("float16",) if on_gpu else ("float32", "bfloat16")
    found: dict[str, Upscaler] = {PEER: RealESRGANUpscaler(network, outscale, half=on_gpu)}
    found |= {f"batched {name}": BatchedUpscaler(network, outscale, name) for name in precisions}
    return {name: engine.to(device) for name, engine in found.items()}


def differences(expected: Tensor, found: Tensor) -> dict[str, Any]:
    """Compare two batches of pictures in grey levels."""
    off = (expected.int() - found.int()).abs()
    return {
        "largest difference": int(off.max()),
        "mean difference": round(float(off.float().mean()), 4),
        "pixels off by > 1": f"{float((off > 1).float().mean()):.3%}",
    }


def in_turn(engine: Upscaler, parts: list[Tensor]) -> Callable[[], Tensor]:
    """Enlarge the next part at each call."""
    order: Iterator[Tensor] = itertools.cycle(parts)
    return lambda: engine(next(order))


def main() -> None:
    """Compare, time, and write `results/upscaling_<weights>.md`."""
    arguments = parse_options(
        __doc__, faces=16, rounds=8, size=112, outscale=2.0, weights="packaged:x4plus", threads=torch.get_num_threads()
    )
    torch.set_num_threads(arguments.threads)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    faces = draw_faces(arguments.faces, arguments.size).to(device)
    candidates = engines(arguments.weights, arguments.outscale, device)
    sample = faces[: min(2, len(faces))]
    expected = candidates[PEER](sample)
    compared = {name: differences(expected, engine(sample)) for name, engine in candidates.items()}
    limit = 1 if device.type == "cpu" else 3  # float16 on both sides, but sums in another order
    exact = next(name for name in candidates if name != PEER)
    if compared[exact]["largest difference"] > limit:
        raise SystemExit(f"{exact} differs from {PEER}: {compared[exact]}; speeds are not comparable")

    parts = list(faces.tensor_split(arguments.rounds))
    calls = {name: in_turn(engine, parts) for name, engine in candidates.items()}
    seconds = interleaved(calls, arguments.rounds, warmup=0)  # the comparison has warmed up
    rows = ratio_table(seconds, PEER, arguments.faces / arguments.rounds, "faces")
    for row in rows:
        row |= compared[row["candidate"]]
    name = arguments.weights.split(":")[-1]
    write_results(
        f"upscaling_{name}",
        rows,
        title=f"Upscaling with {arguments.weights}, {arguments.size} px faces, output scale {arguments.outscale:g}",
        notes=[
            f"{arguments.faces} drawn faces, a share of them in each of {arguments.rounds} interleaved rounds; the "
            "peer takes one image at a time, without its optional padding (pre_pad 0), which would make it slower.",
            "Differences are grey levels from the peer's picture. bfloat16 is an approximation, chosen explicitly.",
        ],
    )


if __name__ == "__main__":
    main()
