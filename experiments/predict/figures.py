"""Pictures of a person's course through a video: time lines, and the path on the valence/arousal plane."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from experiments.predict.rows import Labels
from experiments.predict.tables import column_names

MOST_POINTS: Final = 1500
"""Points of a line; of longer courses, means of equal spans of time are drawn."""


def draw_people(path: Path, labels: Labels, most: int) -> dict[str, Figure]:
    """Draw the persons of a video that are seen longest.

    Args:
        path: The run's `faces.parquet`.
        labels: Names of each task's columns.
        most: Number of persons.

    Returns:
        `person_<number>_timeline` and, with valence and arousal, `person_<number>_path` of each.
    """
    people = pd.read_parquet(path, columns=["person"])["person"].value_counts()
    figures = {}
    for person in people.index[:most].sort_values():
        course = thinned(pd.read_parquet(path, filters=[("person", "==", person)]), labels)
        figures[f"person_{person:03d}_timeline"] = time_line(
            course, labels, f"person {person}, {people[person]} frames"
        )
        if {"valence", "arousal"} <= set(course):
            figures[f"person_{person:03d}_path"] = affect_path(course, f"person {person}")
    return figures


def thinned(rows: pd.DataFrame, labels: Labels, most: int = MOST_POINTS) -> pd.DataFrame:
    """Average a person's numbers over equal spans of time, so that at most so many rows remain.

    Args:
        rows: A person's rows of the final table.
        labels: Names of each task's columns.
        most: Number of spans.

    Returns:
        `time` (seconds, or frames where the video has no time stamps) and the predictions; empty spans are left out.
    """
    names = [column for task, columns in labels.items() for column in column_names(task, columns)]
    time = rows["frame"].astype(float) if rows["seconds"].isna().any() else rows["seconds"]
    course = rows[names].astype(float).assign(time=time.to_numpy())
    course.attrs["unit"] = "frame" if rows["seconds"].isna().any() else "seconds"
    if len(course) <= most:
        return course
    first, last = course["time"].iloc[0], course["time"].iloc[-1]
    span = ((course["time"] - first) / max(last - first, 1e-9) * most).astype(int).clip(upper=most - 1)
    means = course.groupby(span).mean()
    means.attrs = course.attrs
    return means


def time_line(course: pd.DataFrame, labels: Labels, title: str) -> Figure:
    """Draw values as lines, and probabilities of expressions and action units as strips, over time."""
    panels = [task for task in ("valence_arousal", "expression", "action_units") if task in labels]
    heights = [2.2 if task == "valence_arousal" else 0.7 + 0.2 * len(labels[task]) for task in panels]
    figure = Figure(figsize=(11, 0.9 + sum(heights)), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    time = course["time"].to_numpy()
    for axes, task in zip(grid, panels, strict=True):
        names = column_names(task, labels[task])
        if task == "valence_arousal":
            for name in names:
                axes.plot(*_broken(time, course[name].to_numpy()), label=name)
            axes.axhline(0, color="0.7", linewidth=0.8)
            low, high = axes.get_ylim()
            axes.set_ylim(min(low, -1.05), max(high, 1.05))
            axes.legend(fontsize=8, ncols=len(names), frameon=False, loc="upper right")
        else:
            strips(axes, time, course[names].to_numpy(), labels[task])
            axes.set_ylabel("probability", fontsize=8)
    grid[-1].set_xlabel(course.attrs["unit"])
    return figure


def strips(axes: Axes, time: np.ndarray, values: np.ndarray, names: Sequence[str]) -> None:
    """Draw a strip per column, darker where its probability is higher; gaps in time stay white."""
    step = _step(time)
    edges = np.arange(time[0], time[-1] + 1.5 * step, step)
    cells = np.full((len(edges) - 1, values.shape[1]), np.nan)
    place = ((time - time[0]) / step + 0.5).astype(int).clip(max=len(cells) - 1)
    cells[place] = values
    extent = (edges[0] - step / 2, edges[-1] - step / 2, len(names) - 0.5, -0.5)
    axes.imshow(cells.T, vmin=0, vmax=1, cmap="Blues", aspect="auto", interpolation="nearest", extent=extent)
    axes.set_yticks(range(len(names)), names, fontsize=8)


def affect_path(course: pd.DataFrame, title: str) -> Figure:
    """Draw the course on the valence/arousal plane, from light to dark over time."""
    figure = Figure(figsize=(6, 5.4), layout="constrained")
    axes = figure.add_subplot()
    valence, arousal, time = (course[name].to_numpy() for name in ("valence", "arousal", "time"))
    axes.add_patch(Circle((0, 0), 1, fill=False, color="0.8"))
    axes.axhline(0, color="0.8", linewidth=0.8)
    axes.axvline(0, color="0.8", linewidth=0.8)
    axes.plot(valence, arousal, color="0.75", linewidth=0.8, zorder=1)
    points = axes.scatter(valence, arousal, c=time, cmap="viridis_r", s=12, zorder=2)
    figure.colorbar(points, ax=axes, label=course.attrs["unit"])
    reach = max(1.05, float(np.abs([valence, arousal]).max()) * 1.05)
    axes.set(
        xlim=(-reach, reach), ylim=(-reach, reach), xlabel="valence", ylabel="arousal", title=title, aspect="equal"
    )
    return figure


def _broken(time: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Insert NaN where the person was away, so that no line bridges it."""
    gaps = np.flatnonzero(np.diff(time) > 5 * _step(time)) + 1
    return np.insert(time, gaps, np.nan), np.insert(values, gaps, np.nan)


def _step(time: np.ndarray) -> float:
    steps = np.diff(time)
    return float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0
