"""`ronctl audit`: read a node's records, and check that none was changed or left out."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any, BinaryIO

from overlay_edge.host.terminal import printable

MAX_LINE_BYTES = 8 << 10  # twice the longest record
MAX_PROBLEMS = 10  # told one by one; a broken chain has one for each line after it
MAX_COLUMNS = 400


def register(verbs: Any, shared: ArgumentParser) -> None:
    """Add the verb."""
    verb = verbs.add_parser("audit", help="read and verify the audit")
    halves = verb.add_subparsers(required=True, metavar="tail|verify")
    tail = halves.add_parser("tail", parents=[shared], help="print the records a node holds")
    tail.add_argument("--since", type=int, metavar="N", default=0, help="from record N on")
    tail.add_argument("--follow", action="store_true", help="and those to come")
    tail.set_defaults(run=run_tail)
    verify = halves.add_parser(
        "verify",
        parents=[shared],
        help="check the chain of a file of lines, or of a node; exit code 1 if it is broken",
    )
    verify.add_argument("file", metavar="FILE", nargs="?", help="what a sink took; - is stdin")
    verify.add_argument("--live", action="store_true", help="what the node holds (default)")
    verify.set_defaults(run=run_verify)


def run_tail(args: Namespace) -> int:
    """Print records until the stream ends."""
    from overlay_edge.ctl.stream import fields_of, lines

    follow = "&follow" if args.follow else ""
    for line in lines(args, f"/audit?since={max(0, args.since)}{follow}"):
        print(line if args.json else printable(_sentence(fields_of(line)), MAX_COLUMNS), flush=True)
    return 0


def run_verify(args: Namespace) -> int:
    """Say whether the chain holds."""
    from overlay_edge.ctl.output import emit
    from overlay_edge.ctl.stream import lines
    from overlay_edge.errors import ConfigError
    from overlay_edge.proto.chain import Verifier

    if args.file and args.live:
        raise ConfigError(["--live: expected either it or a file"])
    verifier = Verifier()
    problems: list[str] = []
    number = 0
    source = _read(args.file) if args.file else lines(args, "/audit?since=0")
    for number, line in enumerate(source, 1):
        if (problem := verifier.feed(line)) and len(problems) < MAX_PROBLEMS:
            problems.append(f"line {number}: {problem}")
    if not number:
        problems.append("nothing to verify")
    counts = {
        "records": verifier.records,
        "chains": verifier.chains,
        "lost": verifier.lost,
        "duplicates": verifier.duplicates,
    }
    emit(
        args.json,
        {"ok": not problems, **counts, "problems": problems},
        *(f"broken: {printable(problem)}" for problem in problems),
        ("ok: " if not problems else "") + ", ".join(f"{n} {name}" for name, n in counts.items()),
    )
    return 1 if problems else 0


def _read(name: str) -> Iterator[str]:
    if name == "-":
        yield from _lines(sys.stdin.buffer)
    else:
        with open(name, "rb") as file:
            yield from _lines(file)


def _lines(file: BinaryIO) -> Iterator[str]:
    while line := file.readline(MAX_LINE_BYTES):
        if text := line.decode(errors="replace").strip():
            yield text


def _sentence(record: dict[str, object]) -> str:
    from overlay_edge.ctl.stream import moment

    names = ("actor", "subject", "reason", "attrs")
    facts = [f"{name}={record[name]}" for name in names if record.get(name)]
    head = f"#{record.get('seq', '?')} {moment(record.get('ts_ms'))} {record.get('kind', '?')}"
    return " ".join([head, *facts])
