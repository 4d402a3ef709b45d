"""The backbone file of a run, although names such as `latest` point to other runs later."""

from pathlib import Path
from typing import Any

from affect.errors import MissingFileError
from affect.storage.fingerprint import file_digest
from affect.storage.json_file import read_json
from experiments.runtime.config.options import ConfigError
from experiments.runtime.config.words_and_recipes import read_saved_text


def settled(backbone: str) -> str:
    """Resolve the symbolic links in a backbone's path, since `latest` will point to another run."""
    return str(Path(backbone).resolve())


def find_backbone(wanted: str, digest: str, run: Path) -> str:
    """Find the backbone that a finished run was made with: where it was, or else in another run's folder beside it.

    Args:
        wanted: Path that the configuration gives; if the run's own does not give it, it must be the one.
        digest: SHA-256 of the backbone.
        run: Folder of the finished run.

    Raises:
        ConfigError: If another backbone is asked for.
        MissingFileError: If there is no such file any more; the message names all that was looked at.
    """
    if wanted != read_saved_text(run / "config.yaml", "backbone"):
        if Path(wanted).is_file() and file_digest(wanted) != digest:
            raise ConfigError(f"backbone={wanted} is not the network that the heads of {run} were trained on")
        return wanted
    provenance = run / "provenance.json"
    recorded = None
    if provenance.is_file():
        recorded = read_json(provenance, dict[str, Any], "remove the file").get("backbone")
    named = list(dict.fromkeys(str(path) for path in (wanted, recorded) if path))
    runs = sorted({Path(path).parent.parent for path in named})
    others = [str(path) for folder in runs for path in sorted(folder.glob("[0-9]*/backbone.safetensors"))]
    for path in dict.fromkeys([*named, *others]):
        if Path(path).is_file() and file_digest(path) == digest:
            return path
    raise MissingFileError(
        f"the heads of {run} were trained on the backbone with SHA-256 {digest[:12]}..., which is no longer at "
        f"{' or '.join(named)}: put that file back, or name it with backbone="
    )
