"""The tables of a run: predictions treated per person as the heads' training run treated its videos."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from affect.calibration.calibrator import Calibrator
from affect.labels import VALENCE_AROUSAL
from affect.storage.atomic_write import atomic_path
from experiments.predict.rows import BOX, Labels

_PLACE: Final = ("file", "frame", "seconds", "person", *BOX, "confidence")
_DECIMALS: Final = 6


def treated(
    parts: Iterable[pd.DataFrame], labels: Labels, calibrator: Calibrator, moves: bool
) -> Iterator[pd.DataFrame]:
    """Smooth, bias and decide the rows of a source's chunks; the result is that of all rows at once.

    Args:
        parts: Rows of each chunk, in order.
        labels: Names of each task's columns.
        calibrator: What is done to them.
        moves: Whether rows of one person follow one another; photographs stand alone.

    Yields:
        The final table of each chunk: place, box and confidence; `expression` and `p_<name>` of each; `valence` and
        other values; the action units' probabilities and `<unit>_active`, 0 or 1.
    """
    reach = max((smoothing.window for smoothing in calibrator.smoothing.values()), default=0) if moves else 0
    for rows, context in _in_context(parts, reach) if reach else ((part, part) for part in parts):
        faces = context["person"].notna().to_numpy()
        video = context["person"][faces].to_numpy(np.int64) if moves else np.arange(faces.sum())
        preds = {
            task: context.loc[faces, [f"{task}/{name}" for name in names]].to_numpy(np.float32)
            for task, names in labels.items()
        }
        preds = calibrator.apply(preds, video, context["frame"][faces].to_numpy(np.int64))
        own = context.index[faces].isin(rows.index)
        yield _final(rows, {task: values[own] for task, values in preds.items()}, labels, calibrator)


def _in_context(parts: Iterable[pd.DataFrame], reach: int) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Yield the rows of each chunk, and with them those of all frames up to `reach` away; indices are unique."""
    near: list[pd.DataFrame] = []
    due = count = 0
    for part in itertools.chain(parts, (None,)):
        if part is not None:
            near.append(part.set_axis(range(count, count + len(part))))
            count += len(part)
        while due < len(near) and (part is None or part["frame"].iloc[0] > near[due]["frame"].iloc[-1] + reach):
            rows = near[due]
            while near[0]["frame"].iloc[-1] < rows["frame"].iloc[0] - reach:
                del near[0]
                due -= 1
            yield rows, pd.concat(near)
            due += 1


def _final(rows: pd.DataFrame, preds: Mapping[str, np.ndarray], labels: Labels, calibrator: Calibrator) -> pd.DataFrame:
    faces = rows["person"].notna().to_numpy()
    table = rows[list(_PLACE)].reset_index(drop=True)
    table["confidence"] = table["confidence"].astype(float).round(_DECIMALS)
    table["seconds"] = table["seconds"].round(_DECIMALS)
    for task, names in labels.items():
        values = np.full((len(rows), len(names)), np.nan)
        values[faces] = preds[task].astype(float).round(_DECIMALS)
        if task == "expression":
            best = np.full(len(rows), None, object)
            best[faces] = np.array(names, object)[preds[task].argmax(1)]
            table["expression"] = pd.Series(best, dtype="str")
        for place, column in enumerate(column_names(task, names)):
            table[column] = values[:, place]
        if task == "action_units":
            active = np.full(values.shape, np.nan)
            active[faces] = calibrator.decide(preds[task])
            for place, name in enumerate(names):
                table[f"{name}_active"] = pd.array(active[:, place], "Int64")
    return table


def column_names(task: str, names: Sequence[str]) -> list[str]:
    """Return the final table's columns of a task's predictions."""
    if task == "expression":
        return [f"p_{name}" for name in names]
    return [name.lower() if name in VALENCE_AROUSAL else name for name in names]


def write_tables(folder: Path, tables: Iterable[pd.DataFrame]) -> tuple[int, int]:
    """Write `faces.csv` and `faces.parquet`, one chunk in memory at a time, with a row group per file and chunk.

    Returns:
        Numbers of faces and of persons of the source: distinct pairs of file and person.

    Raises:
        StorageError: If a file cannot be written.
    """
    num_faces, people, writer = 0, set(), None
    with atomic_path(folder / "faces.csv") as text, atomic_path(folder / "faces.parquet") as columns:
        try:
            for table in tables:
                table.to_csv(text, mode="a", header=writer is None, index=False, float_format="%.9g")
                content = pa.Table.from_pandas(table, preserve_index=False)
                writer = writer or pq.ParquetWriter(columns, content.schema)
                for _, group in table.groupby("file", sort=False):
                    writer.write_table(pa.Table.from_pandas(group, schema=content.schema, preserve_index=False))
                found = table.dropna(subset="person")
                num_faces += len(found)
                people |= set(zip(found["file"], found["person"], strict=True))
        finally:
            if writer is not None:
                writer.close()
    return num_faces, len(people)
