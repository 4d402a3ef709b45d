"""Command line of the demo data: `python -m demo_data faces --root DIR`, and so on for each set."""

import argparse
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from affect.errors import UserError
from affect.stop_signals import STOP_SIGNALS, Interruption
from demo_data.aff_wild2 import write_aff_wild2
from demo_data.affectnet import write_affectnet
from demo_data.contact_sheet import write_sheets
from demo_data.synthetic_faces import write_synthetic_faces
from demo_data.vggface2 import write_vggface2

_ARGUMENTS: Final[dict[str, dict[str, Any]]] = {
    "layout": {"choices": ("a", "b"), "help": "a: csv files, b: npy files"},
    "workers": {"type": int, "help": "processes; by default one per core"},
}
"""Options of the writers that are no whole numbers, or need a help text."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = vars(_parser().parse_args(arguments))
    write, root = options.pop("write"), options.pop("root")
    with STOP_SIGNALS.listen():
        try:
            written = write(root, **options)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        except Interruption as interruption:
            print(f"stopped by {interruption.name}; run the same command to start again", file=sys.stderr)
            raise SystemExit(interruption.exit_status) from None
    if isinstance(written, bool):
        print(f"{root}: {'drawn' if written else 'up to date'}")
    else:
        print("\n".join(str(path) for path in written))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo_data", description="Draw the embedded demo data.")
    sets = parser.add_subparsers(required=True, metavar="SET")
    _add(sets, "faces", "people for identity and landmark learning (VGGFace2's layout)", write_vggface2)
    _add(sets, "affectnet", "AffectNet, csv or npy layout", write_affectnet)
    _add(sets, "aff-wild2", "s-Aff-Wild2's videos and lists", write_aff_wild2)
    _add(sets, "synthetic", "synthetic training and real validation faces", write_synthetic_faces)
    _add(sets, "sheet", "contact sheets to look at", write_sheets)
    return parser


def _add(sets: Any, name: str, purpose: str, write: Callable[..., Any]) -> None:
    """Add a command whose options are the writer's keyword arguments."""
    parser: argparse.ArgumentParser = sets.add_parser(
        name, help=purpose, description=purpose, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--root", required=True, help="folder to write to")
    for option in inspect.signature(write).parameters.values():
        if option.kind is option.KEYWORD_ONLY:
            argument = _ARGUMENTS.get(option.name, {"type": int, "help": "whole number"})
            parser.add_argument(f"--{option.name.replace('_', '-')}", default=option.default, **argument)
    parser.set_defaults(write=write)


if __name__ == "__main__":
    main()
