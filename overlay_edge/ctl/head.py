"""`ronctl head ADDR`: is an object there, and how long is it."""

from argparse import ArgumentParser, Namespace
from typing import Any

from overlay_edge.ctl.output import emit
from overlay_edge.ctl.patience import patiently
from overlay_edge.ctl.shapes import object_address
from overlay_edge.ctl.target import connect


def register(verbs: Any, shared: ArgumentParser) -> None:
    """Add the verb."""
    verb = verbs.add_parser("head", parents=[shared], help="print an object's size in bytes")
    verb.add_argument("address", metavar="ADDR", type=object_address, help="b3:...")
    verb.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Ask for its size."""
    import asyncio

    size = asyncio.run(_head(args))
    emit(args.json, {"addr": args.address, "size": size}, str(size))
    return 0


async def _head(args: Namespace) -> int:
    async with connect(args) as client:
        return await patiently(args, lambda: client.head(args.address))
