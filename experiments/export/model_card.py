"""The model card: what is recorded of a network, and nothing else."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from affect.storage.json_file import read_json
from experiments.export.system import System
from experiments.runtime.config.words_and_recipes import read_saved_text
from experiments.runtime.demo_set import is_demo
from experiments.runtime.run_folder import FINISHED

NOT_RECORDED: Final = "not recorded"

CHOSEN: Final = {
    "": "the epoch was chosen on these images",
    "@thresholds": "epoch and thresholds were chosen on these images",
    "@thresholds_crossfit": "the epoch was chosen on these images, thresholds on other videos",
    "@smoothed": "the epoch was chosen on these images; with the run's smoothing",
    "@calibrated": "epoch, bias and thresholds were chosen on these images; with the run's smoothing",
    "@calibrated_crossfit": "the epoch was chosen on these images, bias and thresholds on other videos; with smoothing",
    "@pretrained": "of the network that the training started from",
    "@classifier_only": "of an earlier stage of the training; the epoch was chosen on these images",
    "@finetuned": "the epoch was chosen on these images",
    "@blend": "of the blend with the pre-trained network; its weight was chosen on these images",
    "@blend_crossfit": "of the blend with the pre-trained network; its weight was chosen on other images",
}
"""What the metric with a suffix was chosen on."""

USE: Final = (
    "Research on facial affect: expressions, valence and arousal, and where present action units, from an upright crop "
    "of one face, resized as stated under input."
)
LIMITS: Final = (
    "Outputs describe how a face looks to annotators of the training data, not what a person feels.",
    "Decisions about people, such as hiring, policing or medical diagnosis, are not an intended use.",
    "Differences between groups of people have not been measured.",
)
LICENCE: Final = (
    "The suite's code is under Apache-2.0. Weights are subject also to the terms of the data and networks that they "
    "were made from; official affect data sets are given out for research use."
)


def describe_model(system: System, graph: Mapping[str, Any]) -> dict[str, Any]:
    """Collect the card's content as JSON values; an absent fact is NOT_RECORDED.

    Args:
        system: What was exported.
        graph: The file's metadata.
    """
    provenance, metrics = _recorded(system.run, FINISHED), _recorded(system.run, "metrics.json")
    recipe = read_saved_text(system.run / "config.yaml", "recipe") if system.run else None
    made = {
        "run": system.run.name if system.run else NOT_RECORDED,
        "recipe": recipe or NOT_RECORDED,
        **{key: provenance.get(key, NOT_RECORDED) for key in ("git_revision", "git_dirty", "seed", "finished")},
    }
    official = provenance.get("official_set")
    data = {
        "set": Path(provenance["data_root"]).name if "data_root" in provenance else NOT_RECORDED,
        "official_set": NOT_RECORDED if official is None else official,
        "fingerprint": provenance.get("data_fingerprint", NOT_RECORDED),
    }
    notes = dict(system.spec.notes)
    limits = [*LIMITS, *(f"Not in the graph: {part}." for part in system.left_out)]
    if "heads_refit" in str(system.files.get("heads", "")):
        limits.append("The heads were trained again with the validation rows; the metrics are of those before.")
    if "demo" in (recipe, notes.get("recipe")) or ("data_root" in provenance and is_demo(provenance["data_root"])):
        limits.append("It has learnt from drawn faces.")
    return {
        "format": "mt-emotieffnet-card/1",
        "graph": dict(graph),
        "made_by": made,
        "data": data,
        "metrics": [
            {"name": name, "value": value, "chosen_on": CHOSEN.get(_suffix(name), NOT_RECORDED)}
            for name, value in metrics.items()
            if name.startswith("val/")
        ],
        "notes_of_the_network": notes,
        "intended_use": USE,
        "limits": limits,
        "licence": {"notes": LICENCE, "recorded": notes.get("licence", NOT_RECORDED)},
    }


def _recorded(run: Path | None, name: str) -> dict[str, Any]:
    if run is None or not (run / name).is_file():
        return {}
    return read_json(run / name, dict[str, Any], "restore the file, or give backbone= a copy of the network alone")


def _suffix(metric: str) -> str:
    at = metric.find("@")
    return metric[at:] if at >= 0 else ""


def markdown(card: Mapping[str, Any]) -> str:
    """Format a card as Markdown."""
    graph = card["graph"]
    lines = [f"# {graph['file']}", "", card["intended_use"], ""]
    for heading, part in (
        ("Origin", card["made_by"]),
        ("Data", card["data"]),
        ("Input", {**graph["input"], "mean": graph["mean"], "std": graph["std"]}),
        ("Outputs", {name: columns or "pooled features" for name, columns in graph["outputs"].items()}),
        ("Thresholds of action units", graph.get("thresholds", {})),
        ("Bias of expressions (log-probability)", graph.get("log_bias", {})),
        ("Smoothing of the run, not in the graph", graph["smoothing"]),
        ("SHA-256", {"file": graph["file_sha256"], **graph["sha256"]}),
        ("Notes of the network", card["notes_of_the_network"]),
        ("Licence", card["licence"]),
    ):
        if part:
            lines += [f"## {heading}", "", *(f"- {name}: {_shown(value)}" for name, value in part.items()), ""]
    lines += ["## Validation metrics", ""]
    if card["metrics"]:
        lines += ["| metric | value | chosen on |", "| --- | --- | --- |"]
        lines += [
            f"| {row['name']} | {row['value']:.4f} | {row['chosen_on']} |"
            for row in card["metrics"]
            if row["name"].count("/") == 1
        ]
        lines += ["", "Values per class are in the JSON card."]
    else:
        lines.append(NOT_RECORDED)
    lines += ["", "## Limits", "", *(f"- {limit}" for limit in card["limits"]), ""]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
