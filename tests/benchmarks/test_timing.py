import json

import pytest

from benchmarks import timing


def test_candidates_take_turns_and_the_order_alternates():
    calls: list[str] = []
    seconds = timing.interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=2, warmup=1)
    assert calls == ["a", "b", "a", "b", "b", "a"]
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}


def test_speed_up_is_the_median_of_paired_ratios():
    rows = timing.ratio_table({"peer": [2.0, 4.0, 90.0], "ours": [1.0, 1.0, 30.0]}, "peer", items=6, unit="images")
    assert rows[1]["speed-up over peer"] == 3.0
    assert rows[1]["images/s"] == 6.0
    assert rows[1]["range"] == "2.00 to 4.00"
    assert rows[0]["speed-up over peer"] == 1.0


def test_nothing_to_time_is_an_error():
    with pytest.raises(ValueError, match="nothing to time"):
        timing.interleaved({})


def test_results_hold_the_rows_and_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "RESULTS", tmp_path)
    path = timing.write_results("demo", [{"a": 1}, {"a": 2, "b|c": "x"}], title="Demo", notes=["Equal first."])
    text = path.read_text()
    assert "| 1 |  |" in text
    assert "| 2 | x |" in text
    assert "b\\|c" in text
    assert "Equal first." in text
    assert "- processor: " in text
    saved = json.loads(path.with_suffix(".json").read_text())
    assert saved["rows"] == [{"a": 1}, {"a": 2, "b|c": "x"}]
    with pytest.raises(ValueError, match="no rows"):
        timing.write_results("empty", [])
