"""`ronctl purge`: have a node wipe an object, those of a topic, or all of them, now."""

from argparse import ArgumentParser, Namespace
from copy import deepcopy
from typing import Any

from overlay_edge.ctl.output import emit, wiped
from overlay_edge.ctl.shapes import endpoint, object_address, topic
from overlay_edge.errors import ConfigError

WHAT = "ronctl purge b3:..., --topic TOPIC or --all"


def register(verbs: Any, shared: ArgumentParser) -> None:
    """Add the verb."""
    # Behind this verb `--addr` may be the object's, before it the node's. Resolving that conflict
    # takes the name away from the shared option, so it is done to a copy.
    verb = verbs.add_parser(
        "purge",
        parents=[deepcopy(shared)],
        conflict_handler="resolve",
        help="wipe objects of a node now",
        description="Wipe objects of a node; when it answers, it is done.",
    )
    what = verb.add_mutually_exclusive_group()
    what.add_argument("object", type=object_address, metavar="ADDR", nargs="?", help="b3:...")
    what.add_argument("--topic", type=topic, metavar="TOPIC", help="what was put under it")
    what.add_argument(
        "--all",
        action="store_true",
        help="every object and upload, and what open requests hold; sessions stay",
    )
    verb.add_argument(
        "--addr", type=_either, metavar="ADDR", dest="named", help="the same as ADDR, as an option"
    )
    verb.set_defaults(run=run)


def _either(text: str) -> str:
    """An object's address, or a node's, which no order needs."""
    return object_address(text) if text.startswith("b3:") else endpoint(text)


def run(args: Namespace) -> int:
    """Ask for it."""
    from overlay_edge.ctl.control import post

    named = args.named if (args.named or "").startswith("b3:") else None
    chosen: list[dict[str, object]] = [{"addr": one} for one in (args.object, named) if one]
    chosen += [{"topic": args.topic}] if args.topic else []
    chosen += [{"all": True}] if args.all else []
    if len(chosen) != 1:
        raise ConfigError([f"purge: {len(chosen)} things to wipe, expected one"], hint=WHAT)
    (fields,) = chosen
    done = post(args, "/control/purge", fields)
    emit(args.json, done, wiped(done))
    return 0
