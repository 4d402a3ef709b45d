"""`make predict` on films whose persons are known."""

import itertools
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

import experiments.predict.predict as story
import experiments.predict.read_source
from affect.calibration.calibrator import Calibrator
from affect.errors import InvalidOptionError
from affect.labels import ACTION_UNITS, AFFWILD2_EXPRESSIONS, VALENCE_AROUSAL
from affect.stop_signals import STOP_SIGNALS
from datamodules.media.camera import Camera
from datamodules.media.video import Video
from experiments.predict.config import PredictConfig
from experiments.predict.predict import predict
from experiments.predict.recognizer import Recognizer
from experiments.predict.rows import Parts
from experiments.predict.tables import treated
from experiments.runtime.config.load import load_config
from experiments.runtime.config.options import ConfigError
from experiments.runtime.run import Run
from tests.experiments.predict.conftest import persons_of, time_of


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments.predict.read_source, "CHUNK", 6)
    monkeypatch.setattr(experiments.predict.read_source, "BATCH", 4)


def read(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "faces.csv")


def test_each_frame_has_its_persons_and_time(config: PredictConfig) -> None:
    table = read(predict(config))
    assert table["frame"].unique().tolist() == list(range(50))
    names: dict[int, int] = {}
    for number, rows in table.groupby("frame"):
        expected = persons_of(number)
        assert rows["seconds"].unique().tolist() == [time_of(number) / 1000]
        if not expected:
            assert len(rows) == 1
            assert rows.drop(columns=["file", "frame", "seconds"]).isna().all(axis=None)
            continue
        assert len(rows) == len(expected)
        place = ((rows["left"] - 8) // 48 + 1).tolist()  # who it is, by the third of the picture
        for person, given in zip(place, rows["person"].tolist(), strict=True):
            assert names.setdefault(person, given) == given
    assert sorted(names.values()) == [1, 2, 3]


def test_every_third_frame(config: PredictConfig) -> None:
    folder = predict(replace(config, every=3))
    assert read(folder)["frame"].unique().tolist() == list(range(0, 50, 3))
    assert [frame.seconds for frame in Video(folder / "annotated.mp4").frames()] == pytest.approx(
        [time_of(number) / 1000 for number in range(0, 50, 3)], abs=1e-3
    )


def test_the_video_is_drawn_with_its_times(config: PredictConfig) -> None:
    folder = predict(replace(config, figures=2))
    source, drawn = (list(Video(path).frames()) for path in (config.source, folder / "annotated.mp4"))
    assert [frame.seconds for frame in drawn] == pytest.approx([frame.seconds for frame in source], abs=1e-3)
    with av.open(str(folder / "annotated.mp4")) as container:
        assert container.streams.video[0].codec_context.name in ("h264", "mpeg4")
    changed = [np.abs(a.image.astype(int) - b.image).mean() for a, b in zip(source, drawn, strict=True)]
    faces = read(folder)["person"].notna().groupby(read(folder)["frame"]).sum()
    assert min(change for change, count in zip(changed, faces, strict=True) if count) > 3
    assert max(change for change, count in zip(changed, faces, strict=True) if not count) < 3
    # The second person to appear is there least often.
    names = {f"person_{number:03d}_{kind}.png" for number in (1, 3) for kind in ("timeline", "path")}
    assert {path.name for path in (folder / "figures").iterdir()} == names


class Killed(BaseException):
    pass


def resume(config: PredictConfig, folder: Path) -> PredictConfig:
    return load_config(PredictConfig, "predict", [f"resume={folder}"], None)


@pytest.mark.parametrize("with_heads", [False, True])
def test_killed_at_random_five_times_and_resumed_it_gives_the_same(
    config: PredictConfig, heads_run: Path, monkeypatch: pytest.MonkeyPatch, with_heads: bool
) -> None:
    if with_heads:
        config = replace(config, backbone=None, heads=str(heads_run))
    undisturbed = predict(config)
    calls = itertools.count(1)
    limit = [0]
    recognize, draw = Recognizer.recognize, story.write_tables

    def dying(*arguments):
        if next(calls) == limit[0]:
            raise Killed
        return recognize(*arguments)

    monkeypatch.setattr(Recognizer, "recognize", dying)
    killed = replace(config, output_dir=f"{config.output_dir}2")
    folder = None
    for batches in np.random.default_rng(with_heads).integers(2, 6, 5):
        calls, limit[0] = itertools.count(1), int(batches)
        with pytest.raises(Killed):
            predict(killed if folder is None else resume(config, folder))
        (folder,) = Path(killed.output_dir, "predict").glob("2*")
        Run.current.close()
        assert not (folder / "faces.csv").exists()
    limit[0] = 0
    monkeypatch.setattr(story, "write_tables", lambda *arguments: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):  # between the passes
        predict(resume(config, folder))
    Run.current.close()
    monkeypatch.setattr(story, "write_tables", draw)
    assert predict(resume(config, folder)) == folder
    assert (folder / "faces.csv").read_bytes() == (undisturbed / "faces.csv").read_bytes()
    pd.testing.assert_frame_equal(*(pd.read_parquet(each / "faces.parquet") for each in (folder, undisturbed)))
    assert not (folder / "parts").exists()


def test_a_finished_run_is_left_as_it_is_and_keys_of_the_rows_are_kept(config: PredictConfig) -> None:
    folder = predict(config)
    before = (folder / "faces.csv").stat().st_mtime_ns
    assert predict(resume(config, folder)) == folder
    assert (folder / "faces.csv").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match=r"faces\.margin"):
        predict(load_config(PredictConfig, "predict", [f"resume={folder}", "faces.margin=0.3"], None))


def test_heads_give_units_smoothed_and_decided_as_the_calibrator_does_it_on_all_frames(
    config: PredictConfig, heads_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[pd.DataFrame] = []
    add = Parts.add

    def keep(parts: Parts, rows: pd.DataFrame, *progress) -> None:
        seen.append(rows)
        add(parts, rows, *progress)

    monkeypatch.setattr(Parts, "add", keep)
    table = read(predict(replace(config, backbone=None, heads=str(heads_run)))).dropna(subset="person")
    rows = pd.concat(seen).dropna(subset="person")
    columns = {"expression": AFFWILD2_EXPRESSIONS, "valence_arousal": VALENCE_AROUSAL, "action_units": ACTION_UNITS}
    raw = {task: rows[[f"{task}/{name}" for name in names]].to_numpy(np.float32) for task, names in columns.items()}
    calibrator = Calibrator.load(heads_run / "calibrator.json")
    expected = calibrator.apply(raw, rows["person"].to_numpy(np.int64), rows["frame"].to_numpy())
    found = {
        "expression": table[[f"p_{name}" for name in AFFWILD2_EXPRESSIONS]],
        "valence_arousal": table[["valence", "arousal"]],
        "action_units": table[list(ACTION_UNITS)],
    }
    for task, values in expected.items():
        np.testing.assert_array_equal(found[task], values.astype(float).round(6), task)
        assert np.abs(values - raw[task]).max() > 1e-3, "nothing was smoothed"
    decided = calibrator.decide(expected["action_units"])
    np.testing.assert_array_equal(table[[f"{name}_active" for name in ACTION_UNITS]], decided)
    assert table["expression"].tolist() == [AFFWILD2_EXPRESSIONS[best] for best in expected["expression"].argmax(1)]


@pytest.mark.parametrize("reach", [0, 1, 5, 1000])
def test_smoothing_by_chunks_is_smoothing_of_all(heads_run: Path, reach: int) -> None:
    rng = np.random.default_rng(reach)
    labels = {"valence_arousal": VALENCE_AROUSAL}
    frames = np.sort(rng.choice(300, 120, replace=False))
    rows = pd.DataFrame({
        "file": "a", "position": frames, "frame": frames, "seconds": frames / 25, "confidence": 1.0,
        **{name: pd.array([1] * 120, "Int64") for name in ("left", "top", "width", "height")},
        "person": pd.array(rng.choice([1, 2, 3, None], 120), "Int64"),
        **{f"valence_arousal/{name}": rng.normal(size=120).astype(np.float32) for name in VALENCE_AROUSAL},
    })  # fmt: skip
    smoothing = replace(Calibrator.load(heads_run / "calibrator.json").smoothing["valence_arousal"], window=reach)
    calibrator = Calibrator({"valence_arousal": smoothing})
    cuts = [0, *np.sort(rng.choice(np.arange(1, 120), 9, replace=False)), 120]
    parts = [rows.iloc[start:stop].reset_index(drop=True) for start, stop in itertools.pairwise(cuts)]
    (whole,) = treated([rows], labels, calibrator, moves=True)
    found = pd.concat(treated(parts, labels, calibrator, moves=True), ignore_index=True)
    pd.testing.assert_frame_equal(found, whole)


def test_heads_of_another_backbone_and_of_two_streams_are_refused(
    heads_run: Path, tmp_path: Path, squares: None
) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes((tmp_path / "backbone.safetensors").read_bytes() + b" ")
    with pytest.raises(ConfigError, match="not the network that the heads"):
        Recognizer.load(str(other), str(heads_run), device="cpu")
    (heads_run / "stream_heads.safetensors").touch()
    with pytest.raises(InvalidOptionError, match="second stream"):
        Recognizer.load(None, str(heads_run), device="cpu")


def test_a_cut_video_has_rows_up_to_the_break_a_warning_and_a_status(
    config: PredictConfig, film: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = read(predict(config))
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    with pytest.raises(SystemExit) as caught:
        story._predict_or_complain(config)
    assert caught.value.code == 1
    folder = max(Path(config.output_dir, "predict").glob("2*"))
    table = read(folder)
    assert 10 < table["frame"].max() < 40
    pd.testing.assert_frame_equal(table.iloc[:-3], whole.iloc[: len(table) - 3])
    assert "it ends after" in (folder / "unreadable.txt").read_text()


def test_a_cameras_film_ends_with_a_signal_and_is_drawn(
    config: PredictConfig, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story, "open_source", lambda source: Camera(str(film), None))
    recognize = Recognizer.recognize

    def stopping(recognizer: Recognizer, images):
        if STOP_SIGNALS.number is None and len(images) == 2:  # the second batch of a chunk
            STOP_SIGNALS.number = 2
        return recognize(recognizer, images)

    monkeypatch.setattr(Recognizer, "recognize", stopping)
    folder = predict(replace(config, source="camera:0"))
    assert STOP_SIGNALS.number is None
    table = read(folder)
    assert table["frame"].unique().tolist() == list(range(6))
    assert len(list(Video(folder / "annotated.mp4").frames())) == 6
    assert not (folder / "recording.mp4").exists()
