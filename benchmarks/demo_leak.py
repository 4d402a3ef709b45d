"""Asks whether the drawn AffectNet can be solved without looking at faces: a linear probe on 16 x 16 grey pixels.

    python -m benchmarks.demo_leak [--root DIR]

Background, light, skin, position or scale that went with the expression would let a logistic regression on tiny grey
pictures find it. The limit is half of what the demo asks of the real experiment (macro F1 0.6): 0.30.
"""

import argparse
import csv
import tempfile
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

from demo_data.affectnet import write_affectnet

LIMIT: Final = 0.30


def tiny_faces(root: Path, name: str, side: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Read the usable rows of a csv as flat grey crops, shape (N, side * side), and codes 0 to 7, shape (N,)."""
    pixels, codes = [], []
    with (root / name).open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            left, top, width, height = (int(row[f"face_{key}"]) for key in ("x", "y", "width", "height"))
            if width < 0 or int(row["expression"]) > 7:
                continue
            path = root / "Manually_Annotated_Images" / row["subDirectory_filePath"]
            grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            if grey is None:
                raise OSError(f"{path}: not a readable picture; draw the set again")
            crop = grey[top : top + height, left : left + width]
            pixels.append(cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA).ravel() / 255)
            codes.append(int(row["expression"]))
    return np.array(pixels), np.array(codes)


def probe(root: Path) -> float:
    """Give the best validation macro F1 of linear probes of several strengths on a drawn set (layout "a")."""
    train, train_codes = tiny_faces(root, "training.csv")
    validation, validation_codes = tiny_faces(root, "validation.csv")
    scaler = StandardScaler().fit(train)
    scores = []
    for strength in (1e-3, 1e-2, 1e-1):
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=300)
        model.fit(scaler.transform(train), train_codes)
        predicted = model.predict(scaler.transform(validation))
        scores.append(f1_score(validation_codes, predicted, average="macro"))
    return float(max(scores))


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Linear probe on 16 x 16 grey pixels of the drawn AffectNet."
    )
    parser.add_argument(
        "--root", type=Path, default=None, help="a drawn set; by default one is drawn and thrown away"
    )
    root = parser.parse_args().root
    with tempfile.TemporaryDirectory() as folder:
        if root is None:
            root = Path(folder) / "affectnet"
            write_affectnet(root)
        score = probe(root)
    print(f"linear probe on 16 x 16 grey pixels: validation macro F1 {score:.3f} (limit {LIMIT:.2f})")
    if score >= LIMIT:
        raise SystemExit("the drawn set can be solved without looking at faces")


if __name__ == "__main__":
    main()
