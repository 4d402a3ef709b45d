"""The table of published networks agrees with itself, with timm, and with the numbers written out once more."""

import re

import pytest
import timm
import torch

from affect.networks.backbone import input_statistics
from affect.networks.published import COMMIT, LICENCE, PUBLISHED, REPOSITORY

TIMM_NETWORKS = [name for name, network in PUBLISHED.items() if network.architecture != "mobilefacenet"]


def test_names_files_and_digests_are_unique() -> None:
    networks = PUBLISHED.values()
    assert len({network.git_digest for network in networks}) == len(PUBLISHED)
    assert len({network.file_name for network in networks}) == len(PUBLISHED)
    assert all(re.fullmatch("[0-9a-f]{40}", network.git_digest) for network in networks)
    assert all(re.fullmatch(r"[\w-]+", name) for name in PUBLISHED), "a name is not to be taken for a path"


def test_the_address_is_of_one_commit() -> None:
    assert re.fullmatch("[0-9a-f]{40}", COMMIT)
    assert f"https://raw.githubusercontent.com/sb-ai-lab/EmotiEffLib/{COMMIT}/models" == REPOSITORY
    assert "Apache-2.0" in LICENCE


def test_a_network_is_named_like_its_file_unless_it_recognises_people() -> None:
    for name, network in PUBLISHED.items():
        folder, _, file = network.path.partition("/")
        assert folder == ("affectnet_emotions" if network.outputs else "pretrained_faces")
        assert (file == f"{name}.pt") is bool(network.outputs)


def test_outputs() -> None:
    eight = ("Anger", "Contempt", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise")
    seven = ("Anger", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise")
    outputs = {name: network.outputs for name, network in PUBLISHED.items()}
    with_affect = (*eight, "Valence", "Arousal")
    assert outputs == {
        "enet_b0_8_va_mtl": with_affect, "enet_b0_8_best_vgaf": eight, "enet_b0_8_best_afew": eight,
        "enet_b2_8": eight, "enet_b2_7": seven, "mobilevit_va_mtl": with_affect, "mbf_va_mtl": with_affect,
        "vggface2": (), "vggface2_b2": (),
    }  # fmt: skip


@pytest.mark.parametrize("name", TIMM_NETWORKS)
def test_timm_knows_the_architecture_with_these_inputs(name: str) -> None:
    network = PUBLISHED[name]
    config = timm.get_pretrained_cfg(network.architecture)
    assert config is not None
    if network.architecture.startswith("tf_efficientnet"):
        assert config.input_size == (3, network.image_size, network.image_size)
        assert input_statistics(network.architecture) == network.statistics


def test_features_are_as_wide_as_published() -> None:
    widths = {}
    for architecture in {PUBLISHED[name].architecture for name in TIMM_NETWORKS}:
        with torch.device("meta"):
            widths[architecture.partition(".")[0]] = timm.create_model(architecture, num_classes=0).num_features
    assert widths == {"tf_efficientnet_b0": 1280, "tf_efficientnet_b2": 1408, "mobilevitv2_150": 768}


def test_figures_are_shares_and_scores_of_their_measures() -> None:
    for network in PUBLISHED.values():
        figures = network.figures
        shares = [figures.accuracy, figures.accuracy_7, figures.lsd_f1, *(figures.va_ccc or ())]
        assert all(0.5 < value < 0.7 for value in shares if value is not None)
        assert figures.mtl_score is None or 1 < figures.mtl_score < 1.3
        assert bool(figures.source) is any(value is not None for value in (*shares, figures.mtl_score))
    paper = PUBLISHED["enet_b0_8_va_mtl"].figures
    assert (paper.accuracy, paper.va_ccc, paper.mtl_score, paper.lsd_f1) == (0.6193, (0.594, 0.549), 1.2765, 0.6094)
    assert PUBLISHED["enet_b2_7"].figures.accuracy is None
