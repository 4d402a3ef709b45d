import numpy as np
import pytest

from affect.labels import AFFECTNET_CODES, AFFWILD2_EXPRESSIONS
from demo_data.action_units import UNIT_INDEX
from demo_data.expressions import CIRCUMPLEX, PROTOTYPES, annotate, express, nuisance, prototype

DEFINING = {
    "Happiness": "AU12", "Surprise": "AU2", "Fear": "AU5", "Anger": "AU4", "Sadness": "AU1", "Contempt": "AU14",
}  # fmt: skip


def test_every_label_can_be_drawn():
    labels = set(AFFECTNET_CODES[:8]) | set(AFFWILD2_EXPRESSIONS)
    assert labels == set(PROTOTYPES) == set(CIRCUMPLEX)


@pytest.mark.parametrize("name", list(PROTOTYPES))
def test_values_stay_in_range(name):
    rng = np.random.default_rng(0)
    for _ in range(100):
        face = express(name, rng)
        assert face.action_units.shape == (2, 19)
        assert face.action_units.min() >= 0
        assert face.action_units.max() <= 1
        noisy = annotate(face.valence_arousal, rng)
        assert np.abs(noisy).max() <= 1


@pytest.mark.parametrize(("name", "unit"), DEFINING.items())
def test_an_expression_shows_its_defining_unit(name, unit):
    rng = np.random.default_rng(1)
    faces = [prototype(name, rng).max(axis=0)[UNIT_INDEX[unit]] for _ in range(200)]
    rest = [prototype("Neutral", rng).max(axis=0)[UNIT_INDEX[unit]] for _ in range(20)]
    assert np.mean(faces) > 0.4
    assert max(rest) == 0


def test_contempt_is_one_sided_and_happiness_is_not():
    rng = np.random.default_rng(2)
    for _ in range(50):
        left, right = prototype("Contempt", rng).sum(axis=1)
        assert min(left, right) < 0.2 * max(left, right)
        left, right = prototype("Happiness", rng).sum(axis=1)
        assert min(left, right) > 0.6 * max(left, right)


def test_valence_and_arousal_follow_the_circumplex():
    rng = np.random.default_rng(3)
    means = {name: np.mean([express(name, rng).valence_arousal for _ in range(100)], axis=0) for name in PROTOTYPES}
    assert means["Happiness"][0] > 0.4
    assert max(means[name][0] for name in ("Sadness", "Fear", "Disgust", "Anger", "Contempt")) < -0.15
    assert min(means[name][1] for name in ("Surprise", "Fear", "Anger")) > 0.4
    assert means["Sadness"][1] < -0.1
    assert np.abs(means["Neutral"]).max() < 0.1


def test_stronger_smiles_are_more_pleasant():
    rng = np.random.default_rng(4)
    faces = [express("Happiness", rng) for _ in range(300)]
    smile = [face.action_units[:, UNIT_INDEX["AU12"]].mean() for face in faces]
    assert np.corrcoef(smile, [face.valence_arousal[0] for face in faces])[0, 1] > 0.5


def test_nuisance_units_are_weak_but_for_blinks():
    rng = np.random.default_rng(5)
    drawn = np.stack([nuisance(rng).max(axis=0) for _ in range(300)])
    drawn[:, UNIT_INDEX["AU43"]] = 0
    assert 0 < drawn.max() <= 0.3


def test_unknown_expression():
    with pytest.raises(KeyError, match="Boredom"):
        prototype("Boredom", np.random.default_rng(0))
