"""`ronctl purge`: have a node wipe an object, those of a topic, or all of them, now."""

from argparse import ArgumentParser, Namespace
from copy import deepcopy
from typing import Any

from overlay_edge.ctl.output import emit, wiped
from overlay_edge.ctl.shapes import object_address, topic


def register(verbs: Any, shared: ArgumentParser) -> None:
    """Add the verb."""
    # Behind this verb `--addr` is the object's, before it the node's. Resolving that conflict
    # takes the name away from the shared option, so it is done to a copy.
    verb = verbs.add_parser(
        "purge",
        parents=[deepcopy(shared)],
        conflict_handler="resolve",
        help="wipe objects of a node now",
        description="Wipe objects of a node; when it answers, it is done.",
    )
    what = verb.add_mutually_exclusive_group(required=True)
    what.add_argument("object", type=object_address, metavar="ADDR", nargs="?", help="b3:...")
    what.add_argument(
        "--addr", type=object_address, metavar="ADDR", dest="named", help="the same, as an option"
    )
    what.add_argument("--topic", type=topic, metavar="TOPIC", help="what was put under it")
    what.add_argument(
        "--all",
        action="store_true",
        help="every object and upload, and what open requests hold; sessions stay",
    )
    verb.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Ask for it."""
    from overlay_edge.ctl.control import post

    fields: dict[str, object] = {"addr": args.object or args.named}
    if args.all:
        fields = {"all": True}
    elif args.topic:
        fields = {"topic": args.topic}
    done = post(args, "/control/purge", fields)
    emit(args.json, done, wiped(done))
    return 0
