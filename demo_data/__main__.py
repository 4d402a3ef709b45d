"""Command line of the demo data: `python -m demo_data faces --root DIR`, and so on for each set."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from affect.errors import UserError
from affect.stop_signals import STOP_SIGNALS, Interruption
from demo_data.aff_wild2 import write_aff_wild2
from demo_data.affectnet import write_affectnet
from demo_data.contact_sheet import write_sheets
from demo_data.synthetic_faces import write_synthetic_faces
from demo_data.vggface2 import write_vggface2


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
    _add(
        sets, "faces", "people for identity and landmark learning (VGGFace2's layout)", write_vggface2,
        people=500, images_per_person=24, val_images_per_person=2, size=112, seed=0,
    )  # fmt: skip
    affectnet = _add(
        sets, "affectnet", "AffectNet, csv or npy layout", write_affectnet,
        train=1600, validation=400, size=136, seed=0,
    )  # fmt: skip
    affectnet.add_argument("--layout", choices=("a", "b"), default="a", help="a: csv files, b: npy files")
    _add(
        sets, "aff-wild2", "s-Aff-Wild2's videos and lists", write_aff_wild2,
        train=3000, validation=800, test=400, frames_per_video=75, seed=0,
    )  # fmt: skip
    _add(
        sets, "synthetic", "synthetic training and real validation faces", write_synthetic_faces,
        train=600, validation=300, test=100, seed=0,
    )  # fmt: skip
    _add(sets, "sheet", "contact sheets to look at", write_sheets, pooled=False, size=128, seed=0)
    return parser


def _add(
    sets: Any, name: str, purpose: str, write: Callable[..., Any], *, pooled: bool = True, **options: int
) -> argparse.ArgumentParser:
    """Add a command whose options are the writer's keyword arguments."""
    parser: argparse.ArgumentParser = sets.add_parser(
        name, help=purpose, description=purpose, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--root", required=True, help="folder to write to")
    for option, default in options.items():
        parser.add_argument(f"--{option.replace('_', '-')}", type=int, default=default, help="whole number")
    if pooled:
        parser.add_argument("--workers", type=int, default=None, help="processes; by default one per core")
    parser.set_defaults(write=write)
    return parser


if __name__ == "__main__":
    main()
