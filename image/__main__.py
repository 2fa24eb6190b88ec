"""`python -m image build | lock | flash`: the image builder's command line."""

import argparse
import sys
from pathlib import Path

from image import flash, locking
from image.build import build
from image.errors import ImageError
from image.options import PROJECT, Options
from image.progress import say

MIB = 1 << 20
EXIT_CODES = "exit codes: 0 done, 1 failed, 2 usage or recipe, 3 download, 4 incomplete, 5 target"


def arguments() -> argparse.ArgumentParser:
    """The verbs and their flags."""
    parser = argparse.ArgumentParser(prog="python -m image", epilog=EXIT_CODES)
    verbs = parser.add_subparsers(dest="verb", required=True)

    make = verbs.add_parser("build", help="build a flashable image", epilog=EXIT_CODES)
    make.add_argument("--board", default="virt", help="recipe: image/recipes/<board>.toml")
    make.add_argument("--out", type=Path, default=PROJECT / "build", help="folder for results")
    make.add_argument("--site", type=Path, help="settings file to put on the medium")
    make.add_argument("--mirror", default="", help="Debian archive (else MIRROR=, else the host's)")
    make.add_argument("--fast", action="store_true", help="compress quickly, for development")
    make.add_argument("--locked", action="store_true", help="fail if a locked package is gone")
    make.add_argument("--force", action="store_true", help="build even if up to date")
    make.add_argument("--service", type=Path, help="use this wheel instead of the sources")

    renew = verbs.add_parser("lock", help="renew image/debs.lock and image/wheels.lock")
    renew.add_argument("--board", default="virt")
    renew.add_argument("--out", type=Path, default=PROJECT / "build", help="folder for downloads")
    renew.add_argument("--mirror", default="")

    write = verbs.add_parser("flash", help="write an image to a card or stick")
    write.add_argument("--dev", type=Path, required=True, help="whole disk, as in /dev/sdX")
    write.add_argument("--image", type=Path, default=PROJECT / "build/overlay-edge-virt.img")
    write.add_argument("--force", action="store_true", help="also a disk that is not removable")
    return parser


def act(args: argparse.Namespace) -> None:
    """Carry out one verb."""
    match args.verb:
        case "build":
            options = Options(
                board=args.board,
                out=args.out.resolve(),
                site=args.site,
                mirror=args.mirror,
                is_fast=args.fast,
                is_locked=args.locked,
                is_forced=args.force,
                service=args.service,
            )
            made = build(options)
            size, packed = made["image"]["size"] / MIB, made["download"]["size"] / MIB
            print(f"{options.out / made['image']['name']}  {size:.1f} MiB  (.zst {packed:.1f} MiB)")
            print(f"sha256 {made['image']['sha256']}")
            if not made["locked"]:
                say("WARNING: some packages are not the locked ones; see manifest.json")
        case "lock":
            locking.renew(Options(board=args.board, out=args.out.resolve(), mirror=args.mirror))
        case "flash":
            flash.flash(args.dev, args.image, is_forced=args.force)


def main() -> int:
    """Run; returns the exit code."""
    args = arguments().parse_args()
    try:
        act(args)
    except ImageError as exc:
        say(f"error: {exc}")
        if exc.hint:
            say(f"hint: {exc.hint}")
        return exc.code
    except KeyboardInterrupt:
        say("interrupted")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
