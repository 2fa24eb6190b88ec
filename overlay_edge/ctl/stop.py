"""`ronctl stop`: have a node drain and end, and say what is to come then."""

from argparse import ArgumentParser, Namespace
from typing import Any

from overlay_edge.ctl.output import emit

AFTER = ("restart", "poweroff", "reboot")


def register(verbs: Any, shared: ArgumentParser) -> None:
    """Add the verb."""
    verb = verbs.add_parser(
        "stop",
        parents=[shared],
        help="have a node finish what is open, wipe everything, and end",
        description="Have a node finish what is open, wipe everything, and end. An appliance then"
        " starts it again, or powers off or reboots the machine; elsewhere that is told by the exit"
        " code alone.",
    )
    verb.add_argument("--then", choices=AFTER, default="restart", help="what is next (restart)")
    verb.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Ask for it."""
    from overlay_edge.ctl.control import post

    done = post(args, "/control/stop", {"then": args.then})
    emit(args.json, done, f"stopping, then {args.then}")
    return 0
