"""`ronctl purge`: have a node wipe an object, or all of them, now."""

from argparse import ArgumentParser, Namespace
from typing import Any

from overlay_edge.ctl.output import emit, size
from overlay_edge.ctl.shapes import object_address


def register(verbs: Any, shared: ArgumentParser) -> None:
    """Add the verb."""
    verb = verbs.add_parser("purge", parents=[shared], help="wipe objects of a node now")
    what = verb.add_mutually_exclusive_group(required=True)
    what.add_argument("object", type=object_address, metavar="ADDR", nargs="?", help="b3:...")
    what.add_argument("--all", action="store_true", help="every object, and uploads in progress")
    verb.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Ask for it."""
    from overlay_edge.ctl.control import post

    done = post(args, "/control/purge", {"all": True} if args.all else {"addr": args.object})
    objects, wiped = _number(done, "objects"), _number(done, "bytes")
    noun = "object" if objects == 1 else "objects"
    emit(args.json, done, f"{objects} {noun} wiped, {size(wiped)}")
    return 0


def _number(fields: dict[str, Any], name: str) -> int:
    value = fields.get(name)
    return value if isinstance(value, int) else 0
