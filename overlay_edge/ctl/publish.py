"""`ronctl publish TOPIC [FILE]`: send a message to everybody in the mesh who wants to hear it."""

from argparse import ArgumentParser, Namespace
from typing import Any

from overlay_edge.ctl.output import emit
from overlay_edge.ctl.put import open_source
from overlay_edge.ctl.shapes import topic
from overlay_edge.ctl.target import connect
from overlay_edge.host.terminal import printable


def register(verbs: Any, shared: ArgumentParser) -> None:
    """Add the verb."""
    verb = verbs.add_parser(
        "publish",
        parents=[shared],
        help="publish a message",
        description="Publish a message and say what became of it: accepted = on its way to at "
        "least one neighbour, queued = kept until there is one. Exit code 1 if it was not "
        "published, with the reason. What is longer than a message may be is put as an object, "
        "and its address is published.",
    )
    verb.add_argument("topic", type=topic, metavar="TOPIC", help="who subscribed to it hears it")
    verb.add_argument(
        "file", metavar="FILE", nargs="?", default="-", help="the message; - is standard input"
    )
    verb.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Send it."""
    import asyncio

    said = asyncio.run(_publish(args))
    outcome, seq = printable(str(said.get("outcome")), 40), said.get("seq")
    line = f"{outcome}, number {seq} of {str(said.get('publisher'))[:16]}"
    if "reason" in said:
        line += f": {printable(str(said['reason']), 40)}"
    if "addr" in said:
        line += f", as {printable(str(said['addr']), 80)}"
    emit(args.json, said, line)
    return 0


async def _publish(args: Namespace) -> dict[str, Any]:
    from overlay_edge.gossip_client import publish

    with open_source(args.file) as (file, size):
        async with connect(args) as client:
            return await publish(client, args.topic, file, size)
