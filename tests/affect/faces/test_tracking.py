"""Persons of drawn-up scenes, whose numbers are known."""

import numpy as np
import pytest

from affect.faces.tracking import Tracker, TrackingRules

SCENE = np.full((90, 160, 3), 100, np.uint8)
OTHER = np.full((90, 160, 3), 180, np.uint8)
LOOKS = np.random.default_rng(1).normal(size=(6, 32)).astype(np.float32)


class Film:
    """Feeds a tracker pictures of faces: a person's looks, with noise, at a place."""

    def __init__(self, tracker: Tracker, noise: float = 0.2) -> None:
        self.tracker, self.noise = tracker, noise
        self.rng = np.random.default_rng(0)
        self.picture = 0

    def show(self, *faces: tuple[int, float], scene: np.ndarray = SCENE, times: int = 1) -> list[int]:
        """Show faces, each a look and a left edge, several times; return the numbers of the last."""
        boxes = np.array([[left, 10, left + 20, 30] for _, left in faces], np.float32).reshape(-1, 4)
        person = np.empty(0)
        for _ in range(times):
            looks = np.array([LOOKS[look] for look, _ in faces], np.float32).reshape(-1, 32)
            looks = looks + self.noise * self.rng.normal(size=looks.shape).astype(np.float32)
            person = self.tracker.update(self.picture, scene, boxes, looks)
            self.picture += 1
        return person.tolist()


@pytest.fixture
def film() -> Film:
    return Film(Tracker())


def test_persons_are_numbered_in_order_of_appearance_and_keep_their_numbers(film: Film) -> None:
    assert film.show((0, 10), (1, 60), times=5) == [1, 2]
    assert film.show((1, 62), (0, 13)) == [2, 1]
    assert film.show((2, 120), (1, 64), (0, 16)) == [3, 2, 1]


def test_a_person_survives_missed_pictures_and_comes_back_by_looks_later(film: Film) -> None:
    film.show((0, 10), (1, 60), times=5)
    film.show((1, 60), times=10)
    assert film.show((0, 14), (1, 60)) == [1, 2]
    film.show((1, 60), times=50)
    assert film.show((1, 60), (0, 120)) == [2, 1]
    assert film.show((1, 60), (0, 120), (3, 10)) == [2, 1, 3]


def test_overlap_counts_for_the_gap_and_no_longer() -> None:
    for missed, expected in ((3, [1]), (4, [2])):
        film = Film(Tracker(TrackingRules(max_gap=3, same=0)))
        film.show((0, 10), times=3)
        film.show(times=missed)
        assert film.show((0, 10)) == expected


def test_after_a_cut_looks_decide_and_not_places(film: Film) -> None:
    film.show((0, 10), (1, 60), times=8)
    assert film.show((1, 10), (2, 60), scene=OTHER) == [2, 3]
    assert film.show((1, 10), (2, 60), scene=OTHER) == [2, 3]
    assert film.show((0, 60), scene=SCENE) == [1]


def test_within_a_scene_looks_do_not_split_a_person(film: Film) -> None:
    film.show((0, 10), times=8)
    assert film.show((4, 10)) == [1]


def test_the_limit_follows_the_networks_scale() -> None:
    for noise in (0.002, 0.4):
        film = Film(Tracker(), noise)
        film.show((0, 10), times=20)
        assert film.show((0, 100), scene=OTHER) == [1]
        assert film.show((1, 60), (0, 100), scene=OTHER) == [2, 1]


def test_two_faces_of_a_picture_are_two_persons(film: Film) -> None:
    film.show((0, 10), times=5)
    assert sorted(film.show((0, 10), (0, 14))) == [1, 2]


def test_a_restored_tracker_goes_on_as_the_other_would(film: Film) -> None:
    film.show((0, 10), (1, 60), times=5)
    copy = Film(Tracker())
    copy.tracker.restore({name: values.copy() for name, values in film.tracker.state().items()})
    copy.picture, copy.rng = film.picture, np.random.default_rng(5)
    film.rng = np.random.default_rng(5)
    steps = [((1, 62), (2, 110)), (), ((0, 12),), ((2, 30), (1, 90), (3, 60))]
    for step, scene in zip(steps, (SCENE, SCENE, OTHER, OTHER), strict=True):
        assert film.show(*step, scene=scene) == copy.show(*step, scene=scene)
    for name, values in film.tracker.state().items():
        assert np.array_equal(values, copy.tracker.state()[name]), name


def test_memory_is_bounded_and_the_longest_unseen_is_forgotten() -> None:
    film = Film(Tracker(TrackingRules(remembered=2)))
    film.show((0, 10), times=5)
    for look in (1, 2, 3):
        film.show((look, 10), scene=OTHER if look % 2 else SCENE, times=3)
    assert len(film.tracker.state()["person"]) == 2
    assert film.show((0, 90), scene=SCENE) == [5]


def test_no_faces_from_the_first_picture_on(film: Film) -> None:
    assert film.show(times=3) == []
    assert film.show((0, 10)) == [1]
