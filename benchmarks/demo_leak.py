"""Checks by linear probes on 16 x 16 grey pixels that the drawn AffectNet cannot be solved without the faces.

    python -m benchmarks.demo_leak [--root DIR]

Background, light, skin, position or scale that went with the labels would let a logistic or ridge regression on tiny
grey pictures find them. The limits are half of what the demo asks of the real experiment: macro F1 0.6, both CCC 0.5.
"""

import argparse
import csv
import tempfile
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

from affect.concordance import concordance
from affect.labels import VALENCE_AROUSAL
from demo_data.affectnet import write_affectnet

LIMITS: Final = {"expression F1": 0.30, "valence CCC": 0.25, "arousal CCC": 0.25}


def tiny_faces(root: Path, name: str, side: int = 16) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the usable rows of a csv.

    Returns:
        Flat grey crops, shape (N, side * side), in [0, 1]; codes 0 to 7, shape (N,); valence and arousal, shape (N, 2),
        -2 where missing.
    """
    pixels, codes, values = [], [], []
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
            values.append([float(row["valence"]), float(row["arousal"])])
    return np.array(pixels), np.array(codes), np.array(values)


def probe(root: Path) -> dict[str, float]:
    """Return the best validation scores of linear probes of several strengths on a drawn set (layout "a").

    Returns:
        Scores by the names of LIMITS.
    """
    train, train_codes, train_values = tiny_faces(root, "training.csv")
    validation, codes, values = tiny_faces(root, "validation.csv")
    scaler = StandardScaler().fit(train)
    train, validation = scaler.transform(train), scaler.transform(validation)
    f1 = []
    for strength in (1e-3, 1e-2, 1e-1):
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=300).fit(train, train_codes)
        f1.append(f1_score(codes, model.predict(validation), average="macro"))
    known, train_known = (values > -2).all(1), (train_values > -2).all(1)
    target = torch.from_numpy(values[known])
    ccc = []
    for penalty in (1e1, 1e2, 1e3, 1e4):
        ridge = Ridge(alpha=penalty).fit(train[train_known], train_values[train_known])
        ccc.append(concordance(torch.from_numpy(ridge.predict(validation[known])), target).numpy())
    best = np.max(ccc, axis=0)
    return {
        "expression F1": float(max(f1)),
        **{f"{name.lower()} CCC": float(value) for name, value in zip(VALENCE_AROUSAL, best, strict=True)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Linear probes on 16 x 16 grey pixels of the drawn AffectNet.")
    parser.add_argument("--root", type=Path, default=None, help="a drawn set; by default a temporary one is drawn")
    root = parser.parse_args().root
    with tempfile.TemporaryDirectory() as folder:
        if root is None:
            root = Path(folder) / "affectnet"
            write_affectnet(root)
        scores = probe(root)
    print("linear probes on 16 x 16 grey pixels, best on validation:")
    for name, limit in LIMITS.items():
        print(f"  {name} {scores[name]:.3f} (limit {limit:.2f})")
    if any(scores[name] >= limit for name, limit in LIMITS.items()):
        raise SystemExit("the drawn set can be solved without looking at faces")


if __name__ == "__main__":
    main()
