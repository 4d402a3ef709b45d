import numpy as np
import pytest

from demo_data.action_units import UNIT_INDEX
from demo_data.trajectories import FRAMES_PER_SECOND, drift, envelope, film, kept_frames


@pytest.fixture(scope="module")
def track():
    return film(np.random.default_rng(0), ["Happiness", "Anger", "Surprise"], 120)


def test_an_envelope_rises_holds_and_falls():
    for seed in range(20):
        path = envelope(np.random.default_rng(seed), 200)
        top = np.flatnonzero(path == 1.0)
        assert path[0] == path[-1] == 0
        assert len(top) > 60
        assert (np.diff(path[: top[0] + 1]) >= 0).all()
        assert (np.diff(path[top[-1] :]) <= 0).all()
        assert np.abs(np.diff(path)).max() < 0.12


def test_drift_has_unit_spread_and_forgets_at_the_stated_pace():
    path = drift(np.random.default_rng(0), 60000, 2.0)[:, 0]
    assert path.std() == pytest.approx(1.0, abs=0.1)
    lag = 2 * FRAMES_PER_SECOND
    assert np.corrcoef(path[:-lag], path[lag:])[0, 1] == pytest.approx(np.exp(-1), abs=0.08)


def test_kept_frames_rise_with_gaps():
    frames = kept_frames(np.random.default_rng(0), 500)
    steps = np.diff(frames)
    assert frames[0] >= 1
    assert steps.min() >= 1
    assert np.median(steps) > 4
    assert steps.max() > 40


def test_a_track_is_in_range(track):
    assert track.action_units.shape == (120, 2, 19)
    assert track.action_units.min() >= 0
    assert track.action_units.max() <= 1
    assert np.abs(track.valence_arousal).max() <= 1
    assert track.shown_units.shape == (120, 19)
    assert len(track.expression) == 120


def test_episodes_come_in_order_and_rest_is_neutral(track):
    assert (np.diff(track.episode) >= 0).all()
    for index, name in enumerate(["Happiness", "Anger", "Surprise"]):
        shown = {track.expression[frame] for frame in np.flatnonzero(track.episode == index)}
        assert name in shown
        assert shown <= {name, "Neutral"}


def test_labels_follow_the_faces_units(track):
    smiling = np.array([name == "Happiness" for name in track.expression])
    smile = track.action_units[:, :, UNIT_INDEX["AU12"]].max(axis=1)
    assert smile[smiling].mean() > smile[~smiling].mean() + 0.3
    assert track.valence_arousal[smiling, 0].mean() > track.valence_arousal[~smiling, 0].mean() + 0.3
    shown = track.shown_units[:, UNIT_INDEX["AU12"]]
    assert smile[shown].min() > smile[~shown].mean()


def test_annotation_noise_is_correlated_in_time():
    track = film(np.random.default_rng(3), ["Neutral"], 400)
    valence = track.valence_arousal[:, 0]
    near = np.corrcoef(valence[:-1], valence[1:])[0, 1]
    far = np.corrcoef(valence[:-60], valence[60:])[0, 1]
    assert near > 0.5
    assert near > far + 0.3
