"""The published networks that commands take by name, and which of them the cache holds.

    python -m experiments.models [fetch=NAME]

`fetch=` gets one, or all, while there is a network, for machines that have none when they compute.
"""

if __name__ == "__main__":  # before torch is imported
    from experiments.runtime.process_settings import prepare_process

    prepare_process()

import logging
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table

from affect.networks.published import LICENCE, PUBLISHED, PublishedNetwork
from affect.networks.published_files import CACHE_VARIABLE, cache_folder, published_path
from affect.storage.fingerprint import git_digest
from experiments.runtime.command_line import run_experiment
from experiments.runtime.config.options import option
from experiments.runtime.published_networks import fetch, import_published

_log = logging.getLogger("experiments.models")


@dataclass
class ModelsConfig:
    """Options of the command."""

    fetch: str | None = option(None, "network to fetch now, or all; null: none", choices=(*PUBLISHED, "all"))


def models(config: ModelsConfig) -> None:
    """Fetch what is asked for, then list the networks.

    Raises:
        DownloadError: If a network cannot be fetched.
        InvalidFileError: If a file has another digest than the published one.
    """
    if config.fetch is not None:
        for name in PUBLISHED if config.fetch == "all" else [config.fetch]:
            import_published(name, "fetch") if PUBLISHED[name].outputs else fetch(name)
    _log.info(published_table())
    for name, network in PUBLISHED.items():
        if network.remark:
            _log.info("%s: %s", name, network.remark)
    _log.info(LICENCE)
    _log.info("cache: %s (%s= moves it)", cache_folder(), CACHE_VARIABLE)


def published_table() -> Table:
    """Build the table of published networks, for a terminal of 80 columns."""
    table = Table(
        title="Published networks", title_justify="left", box=SIMPLE_HEAD, padding=0, show_edge=False,
        caption="outputs: number of expressions, + VA: valence and arousal. Published figures: accuracy on AffectNet, "
        "acc 7: without Contempt; CCC of valence and arousal there; P_MTL on s-Aff-Wild2 of heads on the features; F1 "
        "on the synthetic set's real validation faces. Their sources are in affect/networks/published.py.",
        caption_justify="left",
    )  # fmt: skip
    table.add_column("name", no_wrap=True)
    table.add_column("outputs", no_wrap=True)
    for heading in ("pixels", "acc", "acc 7", "CCC V", "CCC A", "P_MTL", "F1"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("cached", no_wrap=True)
    for name, network in PUBLISHED.items():
        figures = network.figures
        shares = (figures.accuracy, figures.accuracy_7, *(figures.va_ccc or (None, None)))
        numbers = (
            "" if value is None else f"{value:.3f}" for value in (*shares, figures.mtl_score, figures.lsd_f1)
        )  # fmt: skip
        table.add_row(name, describe_outputs(network), str(network.image_size), *numbers, cache_state(network))
    return table


def describe_outputs(network: PublishedNetwork) -> str:
    """Return the number of a network's expressions, and whether valence and arousal follow."""
    return f"{len(network.expressions) or 'none'}{' + VA' if network.has_valence_arousal else ''}"


def cache_state(network: PublishedNetwork) -> str:
    """Return whether the cache holds a network's file, and the right one."""
    path = published_path(network)
    if not path.is_file():
        return "no"
    return "yes" if git_digest(path) == network.git_digest else "damaged"


def main() -> None:
    """Run from the command line."""
    run_experiment(ModelsConfig, "models", models, default_recipe=None)


if __name__ == "__main__":
    main()
