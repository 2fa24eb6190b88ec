"""`ronctl amnesia`: whether a node leaves nothing behind, rule by rule, and how that is known."""

from argparse import ArgumentParser, Namespace
from typing import Any

from overlay_edge.ctl.output import emit
from overlay_edge.ctl.target import read_json
from overlay_edge.errors import TransportError
from overlay_edge.host.terminal import printable

COLUMNS = 40  # a phone held upright
MAX_RULES = 64
HOLDING = ("kept", "not here")


def register(verbs: Any, shared: ArgumentParser) -> None:
    """Add the verb and its part."""
    verb = verbs.add_parser("amnesia", help="does a node leave nothing behind")
    inner = verb.add_subparsers(required=True, metavar="report")
    text = "show the RAM-only promise rule by rule; exit code 1 if a required one does not hold"
    inner.add_parser("report", parents=[shared], help=text, description=text).set_defaults(run=run)


def run(args: Namespace) -> int:
    """Ask the admin plane, and print what it says."""
    _, page = read_json(args, "/amnesia")
    rules = page.get("rules")
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise TransportError(f"{args.admin}: /amnesia has no rules, is the node older than ronctl?")
    is_kept = page.get("amnesia") is True and page.get("kept") is True
    lines = [_head(page, is_kept), ""]
    for rule in rules[:MAX_RULES]:
        lines += _shown(rule)
    lines += ["", "* required: no start without it"]
    emit(args.json, page, *lines)
    return 0 if is_kept else 1


def _head(page: dict[str, Any], is_kept: bool) -> str:
    if page.get("amnesia") is not True:
        return "amnesia off: nothing is promised"
    return "amnesia on: every required rule holds" if is_kept else "amnesia on: BROKEN"


def _shown(rule: dict[str, Any]) -> list[str]:
    """Name and state on a line of their own, the rest indented below."""
    from textwrap import wrap

    def text(key: str) -> str:
        return printable(str(rule.get(key, "?")))

    state = text("state")
    mark = "*" if rule.get("required") is True else " "
    loud = state if state in HOLDING or state == "unknown" else state.upper()
    lines = [f"{mark} {text('rule'):<14}{loud}"]
    for said in (text("promise"), f"{text('known_by')}: {text('detail')}"):
        lines += wrap(said, COLUMNS, initial_indent="    ", subsequent_indent="      ")
    return lines
