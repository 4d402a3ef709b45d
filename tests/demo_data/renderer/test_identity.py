from dataclasses import astuple

import pytest

from demo_data.renderer.identity import PEOPLE_STREAMS, generator, person


def test_a_person_is_the_same_whenever_asked_for():
    assert person("faces", 3, 7) == person("faces", 3, 7)


def test_no_person_of_one_set_appears_in_another():
    everyone = [
        astuple(person(stream, seed, index)) for stream in PEOPLE_STREAMS for seed in (0, 1) for index in range(40)
    ]
    widths = {looks[9:] for looks in everyone}  # the measures of the face alone, whatever hair and skin
    assert len(widths) == len(everyone)


def test_stream_numbers_are_unique():
    assert len(set(PEOPLE_STREAMS.values())) == len(PEOPLE_STREAMS)


def test_images_and_people_draw_from_different_streams():
    assert generator("faces", 0, 5).random() != generator("faces", 0, 6).random()
    assert generator("faces", 0, 5).random() != generator("affectnet/train", 0, 5).random()


def test_unknown_set_of_people():
    with pytest.raises(KeyError, match="strangers"):
        person("strangers", 0, 0)
