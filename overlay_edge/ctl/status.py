"""`ronctl status`: the status page of a node, and its readiness as the exit code."""

from argparse import ArgumentParser, Namespace
from typing import Any

from overlay_edge.ctl.output import emit
from overlay_edge.ctl.target import read_json, read_page
from overlay_edge.host.terminal import printable

MAX_LINES = 40


def register(verbs: Any, shared: ArgumentParser) -> None:
    """Add the verb."""
    verb = verbs.add_parser(
        "status",
        parents=[shared],
        help="show a node's status page; exit code 1 if it is not ready",
    )
    verb.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Ask the admin plane."""
    status, readiness = read_json(args, "/readyz?verbose")
    if args.json:
        _, version = read_json(args, "/version")
        emit(True, {"ready": status == 200, "readyz": readiness, "version": version})
    else:
        _, page = read_page(args, "/status")
        lines = page.decode(errors="replace").splitlines()[:MAX_LINES]
        emit(False, {}, *(printable(line, 80) for line in lines))
    return 0 if status == 200 else 1
