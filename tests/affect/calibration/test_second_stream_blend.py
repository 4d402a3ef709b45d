import numpy as np
import pytest

from affect.calibration.second_stream_blend import blend_streams


def streams() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    first = {
        "expression": np.full((3, 8), 0.2, np.float32),
        "action_units": np.full((3, 12), 0.5, np.float32),
    }
    second = {
        "expression": np.full((3, 8), 0.6, np.float32),
        "action_units": np.full((3, 12), np.nan, np.float32),
    }
    return first, second


def test_streams_are_mixed_where_the_second_has_the_frame() -> None:
    first, second = streams()
    second["expression"][1] = np.nan
    blended = blend_streams(first, second, {"expression": 0.75})
    np.testing.assert_allclose(blended["expression"][:, 0], [0.3, 0.2, 0.3])
    assert blended["expression"].dtype == np.float32
    np.testing.assert_array_equal(blended["action_units"], first["action_units"])


@pytest.mark.parametrize("weight", [{"expression": 1.1}, {"expression": -0.1}, {"emotion": 0.5}])
def test_wrong_weights_are_named(weight: dict) -> None:
    with pytest.raises(ValueError, match=f"cannot blend '{next(iter(weight))}'"):
        blend_streams(*streams(), weight)


def test_the_whole_range_of_weights_is_allowed() -> None:
    first, second = streams()
    for weight, expected in ((0, second), (1, first)):
        blended = blend_streams(first, second, {"expression": weight})
        np.testing.assert_array_equal(blended["expression"], expected["expression"])


def test_a_task_that_one_stream_lacks_cannot_be_blended() -> None:
    first, second = streams()
    for lacking in (first, second):
        kept = lacking.pop("expression")
        with pytest.raises(ValueError, match="cannot blend 'expression'"):
            blend_streams(first, second, {"expression": 0.5})
        lacking["expression"] = kept
