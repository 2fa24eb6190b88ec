"""`ronctl echo`: does a session work, how long does it take, what did TLS negotiate."""

from argparse import ArgumentParser, Namespace
from typing import Any

from overlay_edge.ctl.output import emit
from overlay_edge.ctl.patience import patiently
from overlay_edge.ctl.target import connect
from overlay_edge.errors import IntegrityError
from overlay_edge.host.clock import monotonic
from overlay_edge.host.terminal import printable


def register(verbs: Any, shared: ArgumentParser) -> None:
    """Add the verb."""
    verb = verbs.add_parser("echo", parents=[shared], help="send some text and see it come back")
    verb.add_argument("text", metavar="TEXT", nargs="?", default="hello")
    verb.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Send it and compare."""
    import asyncio

    return asyncio.run(_echo(args))


async def _echo(args: Namespace) -> int:
    payload = args.text.encode(errors="surrogateescape")
    async with connect(args) as client:
        started = monotonic()
        answer = await patiently(args, lambda: client.echo(payload))
        ms = round(1000 * (monotonic() - started), 2)
        info = client.info
    if answer != payload:
        raise IntegrityError(f"{len(answer)} other bytes came back, {len(payload)} were sent")
    text = answer.decode(errors="replace")
    emit(
        args.json,
        {"text": text, "ms": ms, "group": info.group, "cipher": info.cipher, "pq": info.pq},
        printable(text, 1000),
        f"{ms} ms, {printable(info.group)}, {printable(info.cipher)}",
    )
    return 0
