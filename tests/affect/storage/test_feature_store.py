import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from affect.storage.feature_store import FeatureStore, FeatureStoreError, StorePlan
from affect.storage.feature_store_writer import FeatureStoreWriter, lock_path, remove_leftovers
from affect.storage.locks import exclusive_lock

NAMES = [f"video{number % 3}/{number:05d}.jpg" for number in range(23)]


def make_plan(**changes: object) -> StorePlan:
    sources = {"backbone": "abc", "transform": {"image_size": 224, "mean": (0.5, 0.4)}, "images": "123"}
    fields = {"names": NAMES, "columns": {"features": 5, "outputs": 2}, "sources": sources, "chunk_rows": 4}
    return StorePlan(**{**fields, **changes})  # type: ignore[arg-type]


def rows_for(plan: StorePlan, chunk: int) -> np.ndarray:
    return np.random.default_rng(chunk).normal(size=(len(plan.names[plan.rows_of(chunk)]), plan.width))


def fill(writer: FeatureStoreWriter, chunks: list[int]) -> None:
    for chunk in chunks:
        names = writer.plan.names[writer.plan.rows_of(chunk)]
        writer.write(chunk, rows_for(writer.plan, chunk), {name: "gone" for name in names if name == NAMES[6]})


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    writer = FeatureStoreWriter(tmp_path / "store", make_plan())
    writer.prepare()
    fill(writer, writer.pending())
    writer.merge()
    return tmp_path / "store"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_features_are_read_as_written(tmp_path: Path, dtype: str) -> None:
    plan = make_plan(dtype=dtype)
    writer = FeatureStoreWriter(tmp_path / "store", plan)
    assert writer.prepare() == 0
    fill(writer, [5, 0, 3, 2, 4, 1])
    writer.merge()
    store = FeatureStore.open(tmp_path / "store", plan)
    expected = np.concatenate([rows_for(plan, chunk) for chunk in range(6)]).astype(dtype)
    expected[6] = np.nan
    np.testing.assert_array_equal(store.features, expected)
    assert store.features.dtype == dtype
    assert store.names == NAMES
    assert store.missing == {NAMES[6]: "gone"}
    assert store.metadata["columns"] == {"features": 5, "outputs": 2}
    np.testing.assert_array_equal(store.rows([NAMES[7], NAMES[2], NAMES[7]]), [7, 2, 7])
    assert sorted(file.name for file in (tmp_path / "store").iterdir()) == [
        "features.npy", "metadata.json", "names.txt",
    ]  # fmt: skip
    assert not (tmp_path / "store.partial").exists()


def test_a_resumed_store_has_the_same_bytes(store: Path, tmp_path: Path) -> None:
    first = FeatureStoreWriter(tmp_path / "other", make_plan())
    first.prepare()
    fill(first, [0, 5])
    (first.partial / "000003.npy").write_bytes(b"\x93NUMPY cut short")
    (first.partial / "000004.npy").write_bytes(b"")
    second = FeatureStoreWriter(tmp_path / "other", make_plan())
    assert second.prepare() == 2
    assert second.pending() == [1, 2, 3, 4]
    fill(second, second.pending())
    (tmp_path / "other.merging").mkdir()  # a run was stopped while merging
    second.merge()
    assert content(tmp_path / "other") == content(store)


def test_processes_share_the_chunks_without_communication(store: Path, tmp_path: Path) -> None:
    writer = FeatureStoreWriter(tmp_path / "other", make_plan())
    writer.prepare()
    shares = [writer.pending(rank, 2) for rank in range(2)]
    assert shares == [[0, 2, 4], [1, 3, 5]]
    fill(writer, shares[1])
    assert writer.pending(0, 2) == shares[0], "another process's progress must not change the share"
    fill(writer, shares[0])
    writer.merge()
    assert content(tmp_path / "other") == content(store)


def test_chunks_of_another_plan_are_not_used(tmp_path: Path) -> None:
    writer = FeatureStoreWriter(tmp_path / "store", make_plan())
    writer.prepare()
    fill(writer, [0, 1])
    other = FeatureStoreWriter(tmp_path / "store", make_plan(sources={"backbone": "other"}))
    assert other.prepare() == 0
    assert len(other.pending()) == 6


def test_merging_an_unfinished_store_is_refused(tmp_path: Path) -> None:
    writer = FeatureStoreWriter(tmp_path / "store", make_plan())
    writer.prepare()
    fill(writer, [0, 1])
    with pytest.raises(FeatureStoreError, match="4 of 6 chunks"):
        writer.merge()


def test_a_finished_store_replaces_a_stale_one(store: Path) -> None:
    plan = make_plan(dtype="float16")
    writer = FeatureStoreWriter(store, plan)
    writer.prepare()
    fill(writer, writer.pending())
    writer.merge()
    assert FeatureStore.open(store, plan).features.dtype == np.float16


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"dtype": "float16"}, "dtype changed"),
        ({"names": NAMES[::-1]}, "names changed"),
        ({"sources": {"backbone": "x", "transform": {}, "images": "123"}}, "sources.backbone changed"),
        (
            {
                "sources": {
                    "backbone": "abc",
                    "transform": {"image_size": 112, "mean": (0.5, 0.4)},
                    "images": "9",
                }
            },
            "sources.transform.image_size, sources.images changed",
        ),
    ],
)
def test_a_stale_store_is_recognised(store: Path, changes: dict, named: str) -> None:
    FeatureStore.open(store, make_plan())
    with pytest.raises(FeatureStoreError, match=named):
        FeatureStore.open(store, make_plan(**changes))


def _flip_a_byte(path: Path) -> None:
    data = bytearray((path / "features.npy").read_bytes())
    data[-3] ^= 1
    (path / "features.npy").write_bytes(bytes(data))


def _swap_names(path: Path) -> None:
    lines = (path / "names.txt").read_text().splitlines()
    (path / "names.txt").write_text("\n".join(lines[::-1]) + "\n")


def _change_format(path: Path) -> None:
    (path / "metadata.json").write_text(json.dumps({"format": "another"}))


@pytest.mark.parametrize(
    "damage",
    [
        _flip_a_byte,
        _swap_names,
        _change_format,
        lambda path: (path / "features.npy").write_bytes((path / "features.npy").read_bytes()[:-40]),
        lambda path: (path / "features.npy").unlink(),
        lambda path: (path / "metadata.json").write_text("{"),
        lambda path: np.save(path / "features.npy", np.zeros((23, 8), np.float32)),
        shutil.rmtree,
    ],
)
def test_damage_is_recognised(store: Path, damage) -> None:  # type: ignore[no-untyped-def]
    damage(store)
    with pytest.raises(FeatureStoreError):
        FeatureStore.open(store)


def test_wrong_chunks_are_refused(tmp_path: Path) -> None:
    writer = FeatureStoreWriter(tmp_path / "store", make_plan(dtype="float16"))
    writer.prepare()
    with pytest.raises(ValueError, match="needs shape"):
        writer.write(0, np.zeros((3, 7)), {})
    values = np.zeros((4, 7))
    values[2, 1] = 1e6  # beyond float16
    with pytest.raises(FeatureStoreError, match=f"features of {NAMES[2]} are not finite in float16"):
        writer.write(0, values, {})
    assert 0 in writer.pending()


def test_an_unknown_image_is_refused(store: Path) -> None:
    with pytest.raises(FeatureStoreError, match=r"no image 'video9/1\.jpg'"):
        FeatureStore.open(store).rows(["video9/1.jpg"])


def test_impossible_plans_are_refused() -> None:
    with pytest.raises(ValueError, match="needs unique names"):
        make_plan(names=[*NAMES, NAMES[0]])
    with pytest.raises(ValueError, match="dtype must be"):
        make_plan(dtype="int8")
    with pytest.raises(ValueError, match="needs unique names"):
        make_plan(names=[])
    with pytest.raises(ValueError, match="chunk_rows positive"):
        make_plan(chunk_rows=0)
    assert make_plan(chunk_rows=1).num_chunks == 23


def test_a_process_with_another_plan_is_refused(tmp_path: Path) -> None:
    first = FeatureStoreWriter(tmp_path / "store", make_plan())
    first.prepare()
    first.check_plan()
    second = FeatureStoreWriter(tmp_path / "store", make_plan(sources={"images": "changed meanwhile"}))
    with pytest.raises(FeatureStoreError, match="with other image files than this process found"):
        second.check_plan()


def test_chunks_of_changed_rows_are_discarded(tmp_path: Path) -> None:
    writer = FeatureStoreWriter(tmp_path / "store", make_plan())
    writer.prepare()
    fill(writer, writer.pending())
    writer.discard(np.array([5, 7, 22]))
    assert writer.pending() == [1, 5]


@pytest.mark.parametrize("reasons", [b"", b"{}", b"[" * 5000, b'{"video0/00006.jpg": 1}', b"\xff", None])
def test_chunks_without_their_reasons_are_not_used(tmp_path: Path, reasons: bytes | None) -> None:
    writer = FeatureStoreWriter(tmp_path / "store", make_plan())
    writer.prepare()
    fill(writer, writer.pending())
    (file,) = writer.partial.glob("*.missing.json")
    file.unlink()
    if reasons is not None:
        file.write_bytes(reasons)
    assert writer.pending() == [1]


@pytest.mark.parametrize("plan", [b"", b"null", b"[" * 5000, b"\xff", b'{"format": NaN}'])
def test_chunks_of_an_unreadable_or_older_plan_are_not_used(tmp_path: Path, plan: bytes) -> None:
    writer = FeatureStoreWriter(tmp_path / "store", make_plan())
    for content in (plan, json.dumps(make_plan().metadata()).encode()):
        writer.prepare()
        fill(writer, [0, 1])
        assert writer.prepare() == 2
        (writer.partial / "plan.json").write_bytes(content)
        assert writer.prepare() == 0


def test_stores_of_earlier_versions_can_be_opened(tmp_path: Path) -> None:
    # Written out by hand as earlier versions wrote it.
    folder = tmp_path / "old"
    folder.mkdir()
    np.save(folder / "features.npy", np.ones((1, 2), np.float32))
    (folder / "names.txt").write_text("a/1.jpg\n")
    metadata = {
        "format": "mt-emotieffnet-features/1", "rows": 1, "names": hashlib.sha256(b"a/1.jpg").hexdigest(),
        "columns": {"features": 2}, "sources": {"backbone": "x", "transform": {"size": 224}}, "dtype": "float32",
        "chunk_rows": 64, "missing": {},
        "sha256": hashlib.sha256((folder / "features.npy").read_bytes()).hexdigest(),
    }  # fmt: skip
    (folder / "metadata.json").write_text(json.dumps(metadata))
    assert FeatureStore.open(folder).names == ["a/1.jpg"]


def test_the_metadata_have_the_published_format(store: Path) -> None:
    metadata = json.loads((store / "metadata.json").read_text())
    assert metadata == {
        "format": "mt-emotieffnet-features/1", "rows": 23,
        "names": hashlib.sha256("\n".join(NAMES).encode()).hexdigest(), "columns": {"features": 5, "outputs": 2},
        "sources": {"backbone": "abc", "transform": {"image_size": 224, "mean": [0.5, 0.4]}, "images": "123"},
        "dtype": "float32", "chunk_rows": 4, "missing": {NAMES[6]: "gone"},
        "sha256": hashlib.sha256((store / "features.npy").read_bytes()).hexdigest(),
    }  # fmt: skip
    assert (store / "names.txt").read_text() == "\n".join(NAMES) + "\n"


def test_chunk_size_is_not_compared_and_content_only_on_request(store: Path) -> None:
    assert FeatureStore.open(store, make_plan(chunk_rows=7)).names == NAMES
    _flip_a_byte(store)
    assert FeatureStore.open(store, make_plan(), check_content=False).names == NAMES


def test_a_rewritten_chunk_loses_its_reasons(tmp_path: Path) -> None:
    plan = make_plan()
    writer = FeatureStoreWriter(tmp_path / "store", plan)
    writer.prepare()
    fill(writer, writer.pending())
    writer.write(1, rows_for(plan, 1), {})
    assert writer.merge().missing == {}
    assert np.isfinite(FeatureStore.open(tmp_path / "store").features).all()


def test_chunks_of_a_finished_store_and_old_chunks_of_siblings_are_removed(tmp_path: Path) -> None:
    own, stale, recent, locked = (tmp_path / set_name / "train" for set_name in ("own", "stale", "recent", "locked"))
    for path, days in ((own, 0), (stale, 7.1), (recent, 6.9), (locked, 30)):
        for suffix in ("partial", "merging"):
            folder = path.with_name(f"train.{suffix}")
            folder.mkdir(parents=True)
            (folder / "000000.npy").touch()
            os.utime(folder, (time.time() - days * 86400,) * 2)
    with exclusive_lock(lock_path(locked)):
        remove_leftovers(own)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/train.*")}
    assert left == {f"{name}/train.{suffix}" for name in ("recent", "locked") for suffix in ("partial", "merging")}
    assert lock_path(own) == tmp_path / "own" / ".train.lock"


def test_leftovers_that_vanish_or_cannot_be_locked_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gone", "unlockable", "stale"):
        (tmp_path / name / "train.partial").mkdir(parents=True)
        os.utime(tmp_path / name / "train.partial", (0, 0))
    lock_path(tmp_path / "unlockable" / "train").mkdir()
    stat = Path.stat

    def vanished(path: Path, **options: bool) -> os.stat_result:
        if path == tmp_path / "gone" / "train.partial":
            raise FileNotFoundError(2, "No such file or directory")
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", vanished)
    remove_leftovers(tmp_path / "own" / "train")
    monkeypatch.undo()
    assert sorted(path.parent.name for path in tmp_path.glob("*/train.partial")) == ["gone", "unlockable"]


def test_unfinished_stores_are_in_folders_beside_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = FeatureStoreWriter(tmp_path / "store", make_plan())
    writer.prepare()
    assert json.loads((tmp_path / "store.partial" / "plan.json").read_text())["chunk_format"] == 2
    writer.discard(np.array([3]))  # not written yet
    fill(writer, writer.pending())
    seen: list[str] = []

    def fail(path: Path, text: str) -> None:
        seen.extend(sorted(each.name for each in tmp_path.iterdir()))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("affect.storage.feature_store_writer.write_text", fail)
        with pytest.raises(KeyboardInterrupt):
            writer.merge()
    assert seen == ["store.merging", "store.partial"]
    assert [path.name for path in tmp_path.iterdir()] == ["store.partial"], "a failed merge leaves the chunks"
    writer.merge()


@pytest.mark.parametrize(("shape", "dtype"), [((4, 6), "float32"), ((3, 7), "float32"), ((4, 7), "float64")])
def test_a_chunk_of_another_shape_or_type_is_computed_again(tmp_path: Path, shape: tuple[int, int], dtype: str) -> None:
    writer = FeatureStoreWriter(tmp_path / "store", make_plan())
    writer.prepare()
    fill(writer, [0])
    np.save(tmp_path / "store.partial" / "000000.npy", np.zeros(shape, dtype))
    assert 0 in writer.pending()


@pytest.mark.parametrize(("shape", "dtype"), [((23, 6), "float32"), ((22, 7), "float32"), ((23, 7), "float64")])
def test_an_array_of_another_shape_or_type_is_refused_without_reading_it(
    store: Path, shape: tuple[int, int], dtype: str
) -> None:
    np.save(store / "features.npy", np.zeros(shape, dtype))
    with pytest.raises(FeatureStoreError, match="damaged"):
        FeatureStore.open(store, check_content=False)


def test_an_archive_in_place_of_the_array_is_refused(store: Path) -> None:
    with (store / "features.npy").open("wb") as file:
        np.savez(file, features=np.zeros((23, 7), np.float32))
    with pytest.raises(FeatureStoreError, match="damaged"):
        FeatureStore.open(store, check_content=False)


def test_a_store_without_any_image_can_be_opened(tmp_path: Path) -> None:
    plan = make_plan()
    writer = FeatureStoreWriter(tmp_path / "store", plan)
    writer.prepare()
    for chunk in writer.pending():
        names = plan.names[plan.rows_of(chunk)]
        writer.write(chunk, np.zeros((len(names), 7)), dict.fromkeys(names, "gone"))
    assert set(writer.merge().missing) == set(NAMES)


def test_features_stay_on_disk_and_rows_are_integers(store: Path) -> None:
    opened = FeatureStore.open(store)
    assert isinstance(opened.features, np.memmap)
    assert opened.rows(NAMES[:2]).dtype == np.int64


@pytest.mark.parametrize("transform", ["none", {"image_size": 224, "mean": "half"}])
def test_a_source_of_another_kind_is_named(store: Path, transform: object) -> None:
    plan = make_plan(sources={"backbone": "abc", "transform": transform, "images": "123"})
    with pytest.raises(FeatureStoreError, match=r"sources\.transform\S* changed"):
        FeatureStore.open(store, plan)


@pytest.mark.filterwarnings("error")
def test_values_beyond_float16_are_an_error_without_a_warning(tmp_path: Path) -> None:
    writer = FeatureStoreWriter(tmp_path / "store", make_plan(dtype="float16"))
    writer.prepare()
    with pytest.raises(FeatureStoreError, match=f"the features of {NAMES[0]} are not finite in float16"):
        writer.write(0, np.full((4, 7), 1e6), {})
