import time

import pytest

from callbacks.wall_clock import WallClock


def test_a_resumed_run_adds_the_time_before(monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    first = WallClock()
    now[0] += 5
    of_first_fit = first.state_dict()
    now[0] += 2
    of_second_fit = first.state_dict()
    now[0] = 10.0  # another process
    second = WallClock()
    now[0] += 1
    second.load_state_dict(of_first_fit)
    second.load_state_dict(of_second_fit)
    now[0] += 1
    assert second.seconds == 9
    third = WallClock()
    third.load_state_dict(second.state_dict())
    assert third.seconds == 9
