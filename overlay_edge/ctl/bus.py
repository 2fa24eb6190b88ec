"""`ronctl bus`: hear what happens in a node, while it happens."""

from argparse import ArgumentParser, Namespace
from typing import Any

from overlay_edge.host.terminal import printable

TOPICS = ("kernel", "overlay")
MAX_COLUMNS = 400


def register(verbs: Any, shared: ArgumentParser) -> None:
    """Add the verb."""
    verb = verbs.add_parser("bus", help="listen to a node's events")
    tail = verb.add_subparsers(required=True, metavar="tail").add_parser(
        "tail", parents=[shared], help="print each event as it happens, until the node ends"
    )
    tail.add_argument("--topic", choices=TOPICS, required=True, help="what the events are about")
    tail.add_argument("--count", type=int, metavar="N", default=0, help="end after N events")
    tail.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Print events until the stream ends."""
    from overlay_edge.ctl.stream import fields_of, lines

    left = args.count
    for line in lines(args, f"/bus?topic={args.topic}"):
        event = fields_of(line)
        if event.get("event") == "subscribed":
            continue
        print(line if args.json else printable(_sentence(event), MAX_COLUMNS), flush=True)
        left -= 1
        if left == 0:
            break
    return 0


def _sentence(event: dict[str, object]) -> str:
    from overlay_edge.ctl.stream import moment

    name, ts_ms = event.pop("event", "?"), event.pop("ts_ms", None)
    return " ".join([moment(ts_ms), str(name), *(f"{key}={event[key]}" for key in event)])
