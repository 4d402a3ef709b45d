"""The list of published networks: every one, with its figures, and whether its file is there."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
from rich.console import Console

from affect.networks.published import PUBLISHED
from affect.networks.published_files import published_path
from experiments.models import ModelsConfig, models, published_table


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MT_EMOTIEFFNET_CACHE", str(tmp_path / "cache"))


def rows() -> dict[str, list[str]]:
    """Return the words of each network's row, as a terminal of 80 columns shows it."""
    written = io.StringIO()
    Console(file=written, width=80).print(published_table())
    lines = [line.split() for line in written.getvalue().splitlines()]
    return {line[0]: line[1:] for line in lines if line and line[0] in PUBLISHED}


def test_every_network_has_a_row_that_fits_a_terminal() -> None:
    table = rows()
    assert list(table) == list(PUBLISHED)
    assert " ".join(table["enet_b0_8_va_mtl"]) == "8 + VA 224 0.619 0.649 0.594 0.549 1.276 0.609 no"
    assert table["enet_b2_7"] == ["7", "260", "0.663", "1.134", "no"]
    assert table["vggface2"] == ["none", "224", "no"]
    assert " ".join(table["mbf_va_mtl"]) == "8 + VA 112 no"


def test_a_network_is_fetched_ahead_and_shown_as_cached(
    publish: Callable[..., None], tiny_architecture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    publish("vggface2", timm.create_model(tiny_architecture).state_dict(), architecture=tiny_architecture)
    network = timm.create_model(tiny_architecture, num_classes=8)
    publish("enet_b2_8", network, architecture=tiny_architecture)
    models(ModelsConfig(fetch="vggface2"))
    models(ModelsConfig(fetch="enet_b2_8"))
    table = rows()
    assert {name for name, words in table.items() if words[-1] == "yes"} == {"vggface2", "enet_b2_8"}
    printed = capsys.readouterr().out
    assert "fetching enet_b2_8 from http://127.0.0.1" in printed
    assert "Apache-2.0" in printed
    published_path(PUBLISHED["vggface2"]).write_bytes(b"")
    assert rows()["vggface2"][-1] == "damaged"
