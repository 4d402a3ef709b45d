"""The backbone file that an option names, and that of a finished run after names such as `latest` have moved on."""

from pathlib import Path
from typing import Any, Final

from affect.errors import MissingFileError
from affect.networks.published import PUBLISHED
from affect.storage.fingerprint import file_digest
from affect.storage.json_file import read_json
from experiments.runtime.config.options import ConfigError
from experiments.runtime.config.words_and_recipes import read_saved_text
from experiments.runtime.published_networks import check_word, import_published

BACKBONE_NAME: Final = "backbone.safetensors"
"""Name of the backbone file in a run folder of stage 1."""


def resolve_backbone(wanted: str) -> str:
    """Return the path of the backbone file that an option names, without symbolic links, since `latest` moves on.

    Args:
        wanted: A published name, a backbone file, or the run folder of stage 1 that holds one. A file that is called
            like a published network is named with its folder: `./enet_b2_8`.

    Raises:
        ConfigError: If it is a word that names neither a file or folder nor a published network with outputs.
        DownloadError: If a published network cannot be fetched.
        InvalidFileError: If a published network's file is not the published one.
        MissingFileError: If the run folder holds no backbone; a missing file is reported where it is read.
    """
    if wanted in PUBLISHED:
        return str(import_published(wanted, "backbone"))
    check_word("backbone", wanted)
    path = Path(wanted).resolve()
    if path.is_dir():
        path /= BACKBONE_NAME
        if not path.is_file():
            raise MissingFileError(f"backbone={wanted}: the folder holds no {BACKBONE_NAME}; name a finished run")
    return str(path)


def find_backbone(wanted: str, digest: str, run: Path) -> str:
    """Find the backbone that a finished run was made with: where it was, or else in another run's folder beside it.

    Args:
        wanted: What the configuration names; if the run's own configuration does not, it must be that backbone.
        digest: SHA-256 of the backbone.
        run: Folder of the finished run.

    Raises:
        ConfigError: If another backbone is asked for.
        MissingFileError: If there is no such file any more; the message names all that was looked at.
    """
    if wanted != read_saved_text(run / "config.yaml", "backbone"):
        wanted = resolve_backbone(wanted)
        if Path(wanted).is_file() and file_digest(wanted) != digest:
            raise ConfigError(f"backbone={wanted} is not the network that the heads of {run} were trained on")
        return wanted
    provenance = run / "provenance.json"
    recorded = None
    if provenance.is_file():
        recorded = read_json(provenance, dict[str, Any], "remove the file").get("backbone")
    named = list(dict.fromkeys(str(path) for path in (wanted, recorded) if path))
    runs = sorted({Path(path).parent.parent for path in named})
    others = [str(path) for folder in runs for path in sorted(folder.glob(f"[0-9]*/{BACKBONE_NAME}"))]
    for path in dict.fromkeys([*named, *others]):
        if Path(path).is_file() and file_digest(path) == digest:
            return path
    raise MissingFileError(
        f"the heads of {run} were trained on the backbone with SHA-256 {digest[:12]}..., which is no longer at "
        f"{' or '.join(named)}: put that file back, or name it with backbone="
    )
