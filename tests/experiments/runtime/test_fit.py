from pathlib import Path

import pytest
import torch

from affect.errors import InvalidOptionError
from affect.networks.backbone import Backbone
from affect.networks.packaged_weights import find_packaged_weights
from affect.storage.fingerprint import file_digest
from callbacks.stage_schedule import Stage, StageSchedule
from experiments.runtime.config.load import TrainerConfig
from experiments.runtime.fit import (
    FitSettings,
    describe_cut_stages,
    load_initial_weights,
    scores_by_stage,
    weights_digest,
)


def test_each_stage_has_the_scores_of_its_best_epoch_the_first_of_equals() -> None:
    f1 = [0.1, 0.3, 0.2, 0.9, 0.4, 0.9]
    rows = [
        {"epoch": epoch, "train/loss": 1.0, "val/f1": value, "val/other": float(epoch)}
        for epoch, value in enumerate(f1)
    ]
    staged = StageSchedule([Stage("a", 3, 1e-3, True), Stage("b", 4, 1e-4, False)], "val/f1", seed=0)
    expected = {"a": {"val/f1": 0.3, "val/other": 1.0}, "b": {"val/f1": 0.9, "val/other": 3.0}}
    assert scores_by_stage(rows, staged, "val/f1") == expected
    assert scores_by_stage(rows[:2], staged, "val/f1") == {"a": expected["a"]}
    staged = StageSchedule([Stage("a", 3, 1e-3, True, keep="last"), Stage("b", 4, 1e-4, False)], "val/f1", seed=0)
    last = {"val/f1": 0.2, "val/other": 2.0}
    assert scores_by_stage(rows, staged, "val/f1") == expected | {"a": last}


def test_a_fit_without_record_leaves_no_file() -> None:
    settings = FitSettings(TrainerConfig(), 0, Path("run")).unrecorded()
    assert (settings.folder, settings.logger) == (None, None)


def test_max_epochs_names_the_stages_that_it_cuts() -> None:
    stages = [Stage("classifier", 3, 1e-3, True), Stage("everything", 6, 1e-4, False)]
    assert describe_cut_stages(stages, None) == describe_cut_stages(stages, 9) == describe_cut_stages(stages, 99) == ""
    assert "max_epochs=2 cuts" in describe_cut_stages(stages, 2)
    assert "stage classifier trains 2 of its 3 epochs" in describe_cut_stages(stages, 2)
    assert "stage everything (6 epochs) does not train at all" in describe_cut_stages(stages, 2)
    assert "classifier" not in describe_cut_stages(stages, 4)
    assert "stage everything trains 1 of its 6 epochs" in describe_cut_stages(stages, 4)


def test_initial_weights_are_none_a_file_or_a_packages(tmp_path: Path, tiny_architecture: str) -> None:
    backbone = Backbone("tf_efficientnet_lite0", 8)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    load_initial_weights(backbone, "none")
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
    load_initial_weights(backbone, "packaged:efficientnet-lite0")
    torch.save(backbone.state_dict(), tmp_path / "weights.pth")
    other = Backbone("tf_efficientnet_lite0", 3)
    load_initial_weights(other, str(tmp_path / "weights.pth"))
    packaged = torch.load(find_packaged_weights("packaged:efficientnet-lite0"), weights_only=True)
    for network in (backbone, other):
        assert torch.equal(network.encoder.get_submodule("conv_head").weight, packaged["_conv_head.weight"])
    assert torch.equal(backbone.classifier.weight, before["classifier.weight"])
    with pytest.raises(InvalidOptionError, match=r"model\.architecture=tf_efficientnet_lite0"):
        load_initial_weights(Backbone(tiny_architecture, 8), "packaged:efficientnet-lite0")


def test_the_digest_of_initial_weights_is_their_files(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"some")
    assert weights_digest(str(tmp_path / "weights.pth")) == file_digest(tmp_path / "weights.pth")
    assert weights_digest("packaged:efficientnet-lite0") == file_digest(
        find_packaged_weights("packaged:efficientnet-lite0")
    )
    assert weights_digest("none") is weights_digest("hub") is None
