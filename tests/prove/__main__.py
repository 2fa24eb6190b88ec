"""Prove the RAM-only promise on the image that people flash, and leave the evidence in a file.

    python -m tests.prove [--short] [--evidence FILE] [PART ...]

    exits    thirteen classes of secrets, eleven ways to end: hits in all memory, before and after
    leaks    boards with one wipe removed each: every one must be caught
    writes   no write to the boot medium or to decoy disks, from firmware to power-off
    pull     the medium pulled one second after ready, ten thousand requests served
    purge    from the end of an object's time until nothing of it is in live memory

0 = everything holds, 1 = something does not, 2 = usage.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.prove import evidence
from tests.prove.agent import PROJECT
from tests.prove.evidence import Proof
from tests.prove.parts import PARTS

IMAGE = PROJECT / "build/overlay-edge-virt.img"
RAM_FOLDER = "/dev/shm"  # noqa: S108 - the guest's memory, and the secrets, stay in ours
LIMIT_S = 3600  # a run that hangs ends


def main(argv: Sequence[str]) -> int:
    """Run the parts, print the tables, write the evidence."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.prove",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--short", action="store_true", help="three classes, three exits, one leak")
    parser.add_argument("--image", type=Path, default=IMAGE, help="disk image file")
    parser.add_argument("--evidence", type=Path, help="JSON; build/evidence.json by default")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    args = parser.parse_args(argv)
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"{', '.join(sorted(unknown))}: expected {', '.join(PARTS)}")
    if not args.image.is_file():
        parser.error(f"{args.image}: no such file; build it: make image")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # guests end with us
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(LIMIT_S)
    proof = Proof(image=args.image, is_short=args.short)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="prove-", dir=RAM_FOLDER) as folder:
        for name, part in PARTS.items():
            if name in (args.parts or PARTS):
                evidence.progress(f"{name}:")
                _run(name, part, proof, Path(folder) / name)
    proof.seconds = round(time.monotonic() - began, 1)
    path = args.evidence or PROJECT / "build/evidence.json"
    path.write_text(json.dumps(evidence.to_json(proof), indent=1) + "\n")
    print(evidence.report(proof))
    print(f"evidence: {path}")
    return 0 if proof.holds else 1


def _run(name: str, part: Callable[[Proof, Path], None], proof: Proof, folder: Path) -> None:
    """One part; what breaks off is a failure, not an end."""
    folder.mkdir()
    try:
        part(proof, folder)
    except Exception as error:
        hint = getattr(error, "hint", "")
        proof.broken[name] = f"{type(error).__name__}: {error} {hint}".strip()
        evidence.progress(f"BROKEN: {proof.broken[name]}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
