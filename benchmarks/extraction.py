"""Benchmark of feature extraction from JPEG files on the CPU against the notebook's loop and an ONNX loop.

    python -m benchmarks.extraction [--images 256] [--repeats 8]

The notebook: PIL + torchvision, batches through a network without `no_grad`, results concatenated batch by batch. The
ONNX loop, as emotiefflib has it: PIL, one image at a time through one ONNX Runtime session with its default threads.
Ours is the experiment's own predict pass into a feature store, with each engine. All take 112 px frames to 224 px.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms as tv

from affect.networks.backbone import DEFAULT_ARCHITECTURE, Backbone, channels_last, input_statistics
from affect.networks.batch_norm_folding import fold_batch_norm
from affect.networks.batch_slices import in_slices
from affect.networks.onnx_encoder import OnnxEncoder, export_encoder
from affect.networks.openvino_encoder import OpenVinoEncoder, has_bfloat16, openvino_is_installed
from affect.storage.feature_store import StorePlan
from affect.storage.feature_store_writer import FeatureStoreWriter
from benchmarks.timing import interleaved, parse_options, ratio_table, silent_trainer, write_results
from callbacks.feature_prediction_writer import FeaturePredictionWriter
from datamodules.frame_chunks import FrameChunksDataModule
from datamodules.frame_survey import survey_frames
from lightning_modules.feature_extraction import FeatureExtraction

SIZE: Final = 224
BATCH: Final = 32
MEAN, STD = input_statistics(DEFAULT_ARCHITECTURE)


def write_frames(folder: Path, count: int) -> list[str]:
    """Write smooth noise as 112 px JPEGs and return their ids."""
    random = np.random.default_rng(0)
    names = [f"video/{number:05d}.jpg" for number in range(count)]
    (folder / "video").mkdir(parents=True)
    for name in names:
        coarse = random.integers(0, 256, (14, 14, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / name), cv2.resize(coarse, (112, 112), interpolation=cv2.INTER_CUBIC))
    return names


def notebook_loop(folder: Path, names: list[str], backbone: Backbone) -> np.ndarray:
    """Extract as the notebook does."""
    transform = tv.Compose([tv.Resize((SIZE, SIZE)), tv.ToTensor(), tv.Normalize(MEAN, STD)])
    features: Any = []
    for start in range(0, len(names), BATCH):
        images = [transform(Image.open(folder / name).convert("RGB")) for name in names[start : start + BATCH]]
        batch = backbone.encoder(torch.stack(images))
        rows = torch.cat([batch, backbone.classifier(batch)], 1).detach().numpy()
        features = rows if len(features) == 0 else np.concatenate((features, rows), axis=0)
    return features


def onnx_loop(folder: Path, names: list[str], session: Any, backbone: Backbone) -> np.ndarray:
    """Extract image by image through one session."""
    weight, bias = (tensor.detach().numpy() for tensor in backbone.classifier.parameters())
    rows = []
    for name in names:
        image = Image.open(folder / name).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        pixels = (np.asarray(image, np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
        feature = session.run(None, {"image": pixels.transpose(2, 0, 1)[None]})[0]
        rows.append(np.concatenate([feature, feature @ weight.T + bias], 1))
    return np.concatenate(rows)


def predict_pass(
    folder: Path, names: list[str], backbone: Backbone, engine: Callable[[Tensor], Tensor], store: Path
) -> np.ndarray:
    """Extract as the experiment does, into a fresh store."""
    shutil.rmtree(store, ignore_errors=True)
    columns = {"features": backbone.num_features, "outputs": backbone.num_outputs}
    writer = FeatureStoreWriter(store, StorePlan(names, columns, {}, chunk_rows=BATCH))
    trainer = silent_trainer(callbacks=[FeaturePredictionWriter(writer)])
    data = FrameChunksDataModule(survey_frames(folder, names), writer, SIZE, MEAN, STD)
    trainer.predict(FeatureExtraction(backbone, engine), data, return_predictions=False)
    return np.array(writer.merge().features)


def forward_passes(backbone: nn.Module, count: int) -> Callable[[], object]:
    """Return the bare network's forward passes over as many prepared images, eager and channels-last."""
    image = torch.randn(BATCH, 3, SIZE, SIZE).to(memory_format=torch.channels_last)

    def call() -> None:
        with torch.inference_mode():
            for start in range(0, count, BATCH):
                backbone(image[: min(BATCH, count - start)])

    return call


def main() -> None:
    """Check that all ways agree, then time them; write benchmarks/results/extraction.md."""
    arguments = parse_options(__doc__, images=256, repeats=8)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temporary:
        measure(Path(temporary), arguments.images, arguments.repeats)


def measure(temporary: Path, count: int, repeats: int) -> None:
    """Measure with files below a temporary folder."""
    import onnxruntime

    folder = temporary / "frames"
    names = write_frames(folder, count)
    nchw = calibrated(Backbone(DEFAULT_ARCHITECTURE, 10)).eval()
    ours = Backbone(DEFAULT_ARCHITECTURE, 10).eval()
    ours.load_state_dict(nchw.state_dict())
    channels_last(ours)
    folded = fold_batch_norm(ours.encoder, torch.randn(2, 3, SIZE, SIZE))
    file = export_encoder(
        fold_batch_norm(nchw.encoder, torch.randn(2, 3, SIZE, SIZE)), SIZE, temporary / "encoder.onnx"
    )
    session = onnxruntime.InferenceSession(os.fspath(file), providers=["CPUExecutionProvider"])
    encoders: dict[str, Callable[[Tensor], Tensor]] = {"torch": in_slices(folded), "onnx": OnnxEncoder(file)}
    if openvino_is_installed():
        encoders["openvino"] = OpenVinoEncoder(file)
        if has_bfloat16():
            encoders["openvino bfloat16"] = OpenVinoEncoder(file, "bfloat16")
    candidates: dict[str, Callable[[], Any]] = {
        "notebook's loop": lambda: notebook_loop(folder, names, nchw),
        "ONNX loop": lambda: onnx_loop(folder, names, session, nchw),
        **{
            f"ours, {name}": partial(predict_pass, folder, names, ours, encode, temporary / "store")
            for name, encode in encoders.items()
        },
        "forward alone": forward_passes(ours.encoder, count),
    }
    rows = {name: call() for name, call in candidates.items() if name != "forward alone"}
    scale = np.abs(rows["ours, torch"]).max()
    exact = [row for name, row in rows.items() if name.startswith("ours") and "bfloat16" not in name]
    engines = max(np.abs(rows["ours, torch"] - row).max() for row in exact) / scale
    resizing = np.abs(rows["ours, torch"] - rows["notebook's loop"]).mean() / np.abs(rows["ours, torch"]).mean()
    assert engines < 1e-4, engines
    assert resizing < 0.1, resizing
    seconds = interleaved(candidates, repeats)
    write_results(
        "extraction",
        [
            {**row, "speed-up over the ONNX loop": other["speed-up over ONNX loop"]}
            for row, other in zip(
                ratio_table(seconds, "notebook's loop", count, "images"),
                ratio_table(seconds, "ONNX loop", count, "images"),
                strict=True,
            )
        ],
        title="Feature extraction, JPEG to features and outputs",
        notes=[
            f"{count} frames of 112 px, EfficientNet-B0 at {SIZE} px, batches of {BATCH}. Our float32 engines agree to "
            f"{engines:.1e} of the largest feature, and with the loops (PIL's resizing) to {resizing:.1e} in mean.",
            "Forward alone: the eager channels-last encoder on images that are ready.",
        ],
    )


@torch.no_grad()
def calibrated(backbone: Backbone) -> Backbone:
    """Update the BatchNorm statistics with random inputs, so that features differ."""
    backbone.train()
    for _ in range(3):
        backbone(torch.randn(16, 3, 96, 96))
    return backbone


if __name__ == "__main__":
    main()
