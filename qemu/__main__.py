"""`python -m qemu run | test`: the emulator's command line."""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from qemu import demo, owner, selftest
from qemu.errors import CHECK_FAILED, USAGE, QemuError
from qemu.guest import Guest
from qemu.report import Report

# One image serves every machine described here.
IMAGE = Path(__file__).resolve().parents[1] / "build/overlay-edge-virt.img"
EXIT_CODES = "exit codes: 0 done, 1 a check failed, 2 usage or a missing file, 3 no guest"


def arguments() -> argparse.ArgumentParser:
    """The verbs and their flags."""
    parser = argparse.ArgumentParser(prog="python -m qemu", epilog=EXIT_CODES)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="boot an image and show it at work", epilog=EXIT_CODES)
    test = verbs.add_parser("test", help="boot an image and check it", epilog=EXIT_CODES)
    for verb in (run, test):
        verb.add_argument("--board", default="virt", help="machine: qemu/machines/<board>.toml")
        verb.add_argument("--image", type=Path, default=IMAGE, help="disk image file")
        verb.add_argument("--memory", type=int, default=512, help="MiB of the guest")
        verb.add_argument(
            "--oap-port", type=int, default=0, help="loopback port; 0 takes a free one"
        )
        verb.add_argument("--admin-port", type=int, default=0, help="loopback port; 0: a free one")
    run.add_argument("--oneshot", action="store_true", help="end after the fetch")
    test.add_argument("--json", type=Path, help="write the report there as well")
    return parser


def act(args: argparse.Namespace) -> int:
    """Carry out one verb; returns the exit code."""
    if not args.image.is_file():
        raise QemuError(f"{args.image}: no such file", hint="build it: make image", code=USAGE)
    with tempfile.TemporaryDirectory(prefix="edge-files-") as scratch:
        owned = owner.own(args.image, Path(scratch))
        guest = Guest(
            args.board,
            owned.image,
            memory_mib=args.memory,
            oap_port=args.oap_port,
            admin_port=args.admin_port,
        )
        guest.cap = owned.cap
        if args.verb == "run":
            demo.run(guest, Path(scratch), is_oneshot=args.oneshot)
            return 0
        report = Report()
        selftest.run(guest, owned.image, Path(scratch), report)
    print(report.summary())
    if args.json:
        args.json.write_text(report.to_json() + "\n")
    return 0 if report.is_ok else CHECK_FAILED


def main() -> int:
    """Run; returns the exit code."""
    args = arguments().parse_args()
    # A plain `kill` must take QEMU down too: let it unwind like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return act(args)
    except QemuError as exc:
        print(f"error: {exc}", file=sys.stderr)
        if exc.hint:
            print(f"hint: {exc.hint}", file=sys.stderr)
        return exc.code
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 0


if __name__ == "__main__":
    sys.exit(main())
