"""`ronctl panic`: have a node wipe everything at once and end; an appliance powers off."""

import sys
from argparse import ArgumentParser, Namespace
from typing import Any

from overlay_edge.ctl.output import emit, wiped
from overlay_edge.errors import ConfigError, EdgeError

WORD = "wipe"


def register(verbs: Any, shared: ArgumentParser) -> None:
    """Add the verb."""
    verb = verbs.add_parser(
        "panic",
        parents=[shared],
        help="have a node wipe everything and end, without a drain",
        description="Have a node wipe everything and end, without a drain: open requests are cut,"
        " nothing is kept. An appliance then wipes its memory and powers off.",
    )
    verb.add_argument("--yes", action="store_true", help="do not ask")
    verb.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Make sure that it is meant, then ask for it."""
    from overlay_edge.ctl.control import post

    if not args.yes:
        _confirm(args.admin)
    done = post(args, "/control/panic", {})
    emit(args.json, done, wiped(done))
    return 0


def _confirm(node: str) -> None:
    if not sys.stdin.isatty():
        raise ConfigError(["--yes: missing, expected because nobody is at a terminal to be asked"])
    question = f"everything on {node} will be lost; type {WORD} to go on: "
    print(question, end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != WORD:
        raise EdgeError("nothing was done")
