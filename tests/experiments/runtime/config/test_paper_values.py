"""The recipes named paper against the numbers of the paper and its notebooks, written out once more."""

from functools import reduce
from typing import Any

import pytest

from experiments.mtl.config import MtlConfig
from experiments.pretrain.train import PretrainConfig
from experiments.runtime.config.load import RunConfig, load_config
from experiments.synthetic.config import SyntheticConfig

SCHEMAS: dict[str, type[RunConfig]] = {
    "pretrain": PretrainConfig,
    "mtl": MtlConfig,
    "synthetic": SyntheticConfig,
}
VALUES: dict[str, dict[str, Any]] = {
    # arXiv 2207.09508, section 3.1, and affectnet/train_emotions-pytorch.
    "pretrain": {
        "model.architecture": "tf_efficientnet_b0.ns_jft_in1k",
        "data.image_size": 224,
        "data.batch_size": 48,
        "data.flip": 0.0,
        "stages.classifier.epochs": 3,
        "stages.classifier.learning_rate": 0.001,
        "stages.everything.epochs": 6,
        "stages.everything.learning_rate": 0.0001,
        "optimizer.sam_rho": 0.05,
        "optimizer.class_weights": True,
    },
    # Section 3.2, and ABAW/abaw4_mtl_train.
    "mtl": {
        "heads.network": "slice",
        "heads.inputs": "both",
        "heads.num_hidden": 128,
        "heads.learning_rate": 0.001,
        "heads.l2": 1 / 512,
        "heads.batch_size": 512,
        "heads.joint_batch_size": 256,
        "heads.epochs.expression": 10,
        "heads.epochs.valence_arousal": 20,
        "heads.epochs.action_units": 10,
        "heads.epochs.joint": 20,
        "calibration.thresholds": "grid",
    },
    # Section 3.3, and ABAW/abaw4_lsd_train.
    "synthetic": {
        "data.batch_size": 64,
        "data.jitter": [0.3, 0.3, 0.3, 0.1],
        "data.flip": 0.5,
        "preparation.method": "real-esrgan",
        "preparation.validation": False,
        "preparation.upscaling.weights": "x4plus",
        "preparation.upscaling.outscale": 2.0,
        "stages.classifier.epochs": 3,
        "stages.classifier.learning_rate": 0.001,
        "stages.everything.epochs": 5,
        "stages.everything.learning_rate": 0.0001,
        "optimizer.sam_rho": 0.05,
        "optimizer.label_smoothing": 0.1,
        "optimizer.class_weights": True,
        "sam_everything": True,
        "start_from_pretrained": False,
    },
}


@pytest.mark.parametrize("experiment", VALUES)
def test_a_recipe_named_paper_trains_with_the_papers_values(experiment: str) -> None:
    config = load_config(SCHEMAS[experiment], experiment, ["recipe=paper"], None)
    found = {key: reduce(getattr, key.split("."), config) for key in VALUES[experiment]}
    assert found == VALUES[experiment]
