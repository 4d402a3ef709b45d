"""The configuration of stage 2: wrong settings are named before anything runs, and every task has its keys."""

import pytest

from affect.networks.heads import NETWORKS
from affect.tasks import TASKS
from experiments.mtl.config import HeadsConfig, MtlConfig
from experiments.runtime.config.load import load_config
from experiments.runtime.config.options import ConfigError


def load(*words: str) -> MtlConfig:
    return load_config(MtlConfig, "mtl", words, "demo")


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("heads.network=net", r"heads\.network must be one of .*slice.*not 'net'"),
        ("heads.inputs=all", r"heads\.inputs must be one of"),
        ("heads.batch_size=0", r"heads\.batch_size must be at least 1"),
        ("heads.joint_batch_size=0", r"heads\.joint_batch_size must be at least 1"),
        ("heads.num_hidden=-1", r"heads\.num_hidden must be at least 0"),
        ("features.dtype=int8", r"features\.dtype must be one of float32, float16"),
        ("features.engine=tpu", r"features\.engine must be one of"),
        ("features.batch_size=0", r"features\.batch_size must be at least 1"),
        (
            "calibration.expression.kernel=gausian",
            r"calibration\.expression\.kernel must be one of gaussian, box",
        ),
        ("calibration.action_units.sigma=0", r"calibration\.action_units\.sigma must be above 0, not 0"),
        ("calibration.thresholds=fine", r"calibration\.thresholds must be one of grid, exact"),
        ("calibration.keep=some", r"calibration\.keep must be one of"),
        ("calibration.num_folds=1", r"calibration\.num_folds must be at least 2"),
        ("stream.weight={gaze: 0.5}", r"stream\.weight must be one of .*'gaze'"),
        ("stream.weight={expression: 1.5}", r"stream\.weight\.expression must be between 0 and 1, not 1.5"),
        ("stream.columns=AU[", r"stream\.columns=AU\[ is no regular expression"),
        ("seed=-1", "seed must be between 0 and 4294967295, not -1"),
    ],
)
def test_a_wrong_setting_names_its_key(word: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load(word)


def test_the_second_streams_weights_are_those_given_or_the_published_ones() -> None:
    assert load().stream.weights() == {"expression": 0.6}
    assert load("stream.weight={action_units: 0.3}").stream.weights() == {"action_units": 0.3}


def test_every_task_and_head_network_has_its_keys() -> None:
    config = load()
    assert set(config.calibration.smoothing()) == set(TASKS)
    for network in NETWORKS:
        for refit in (False, True):
            epochs = config.heads.epochs_by_group(network, refit)
            assert set(epochs) == set(NETWORKS[network].groups)
            assert min(epochs.values()) > 0
    heads = HeadsConfig(l2=0.1, joint_l2=0.2, batch_size=3, joint_batch_size=4)
    assert [heads.l2_of(network) for network in ("slice", "joint")] == [0.1, 0.2]
    assert [heads.batch_size_of(network) for network in ("slice", "joint")] == [3, 4]
