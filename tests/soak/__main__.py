"""Run every phase against a real node, print what was found, end with one exit code.

python -m tests.soak [--quick] [--json FILE] [PHASE ...]

0 = everything holds, 1 = something does not, 2 = usage. Everything is on loopback, bounded in
number and time, and gone at the end.
"""

import argparse
import importlib
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.soak.gauge import end_on_signals
from tests.soak.report import FULL, QUICK, Report, Scale, progress, table

PHASES = ("crowd", "hostile", "hoard", "churn", "overload", "storm", "fuzz", "downstream")
LIMIT_S = {QUICK: 120, FULL: 900}  # a run that hangs ends


def main(argv: Sequence[str]) -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a little of everything")
    parser.add_argument("--json", metavar="FILE", help="write the report there")
    parser.add_argument("phases", nargs="*", metavar="PHASE", help=f"of {', '.join(PHASES)}")
    args = parser.parse_args(argv)
    if unknown := set(args.phases) - set(PHASES):
        parser.error(f"{', '.join(sorted(unknown))}: expected {', '.join(PHASES)}")
    scale = QUICK if args.quick else FULL
    end_on_signals()
    signal.alarm(LIMIT_S[scale])
    reports = [run(name, scale) for name in PHASES if name in (args.phases or PHASES)]
    if args.json:
        fields = [asdict(report) | {"holds": report.holds} for report in reports]
        Path(args.json).write_text(json.dumps(fields, indent=1) + "\n")
    print(table(reports))
    return 0 if all(report.holds for report in reports) else 1


def run(name: str, scale: Scale) -> Report:
    """One phase, timed; what breaks off is a failure, not an end."""
    print(f"{name}:", flush=True)
    began = time.monotonic()
    try:
        report: Report = importlib.import_module(f"tests.soak.{name}").run(scale)
    except Exception as error:
        report = Report(name)
        report.judge("ran to its end", repr(error), "no exception", False)
    report.seconds = round(time.monotonic() - began, 1)
    for key, value in report.figures.items():
        progress(f"{key}: {value}")
    return report


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
