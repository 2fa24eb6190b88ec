"""`ronctl subscribe TOPIC`: print each message of a topic as it comes, and each gap."""

import json
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from overlay_edge.ctl.shapes import topic
from overlay_edge.ctl.target import connect
from overlay_edge.errors import EdgeError
from overlay_edge.host.terminal import printable

if TYPE_CHECKING:
    from overlay_edge.proto.effects import Deliver, Gapped

MAX_COLUMNS = 400


def register(verbs: Any, shared: ArgumentParser) -> None:
    """Add the verb."""
    verb = verbs.add_parser(
        "subscribe",
        parents=[shared],
        help="hear a topic",
        description="Print each message of a topic, and each gap: numbers of a publisher that "
        "will never come. Ends when the node leaves, or with Ctrl-C: exit code 0.",
    )
    verb.add_argument("topic", type=topic, metavar="TOPIC")
    verb.add_argument("--count", type=int, metavar="N", default=0, help="end after N lines")
    verb.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Print until the end."""
    import asyncio

    with suppress(KeyboardInterrupt, _Enough):
        asyncio.run(_hear(args))
    return 0


async def _hear(args: Namespace) -> None:
    from overlay_edge.gossip_client import subscribe

    left = args.count

    def tell(event: "Deliver | Gapped") -> None:
        nonlocal left
        fields = describe(event)
        text = json.dumps(fields) if args.json else printable(sentence(fields), MAX_COLUMNS)
        print(text, flush=True)
        left -= 1
        if left == 0:
            raise _Enough("as many as were asked for")

    def begun() -> None:
        if args.json:
            print(json.dumps({"event": "subscribed", "topic": args.topic}), flush=True)

    async with connect(args) as client:
        await subscribe(client, args.topic, tell, on_begun=begun)


class _Enough(EdgeError):
    """As many as were asked for: ends the request like any error of who takes its bytes."""


def describe(event: "Deliver | Gapped") -> dict[str, object]:
    """A message or a gap as JSON; data that is no text is in base64."""
    from base64 import b64encode

    from overlay_edge.proto.effects import Gapped

    fields: dict[str, object] = {
        "event": "gap" if isinstance(event, Gapped) else "message",
        "topic": event.topic,
        "publisher": event.publisher.hex(),
        "epoch": event.epoch,
    }
    if isinstance(event, Gapped):
        return fields | {"first": event.first, "last": event.last, "reason": event.reason}
    fields |= {"seq": event.seq, "hop": event.hop}
    if event.addr:
        return fields | {"addr": event.addr, "size": event.size}
    try:
        return fields | {"text": event.data.decode()}
    except UnicodeDecodeError:
        return fields | {"base64": b64encode(event.data).decode()}


def sentence(fields: dict[str, object]) -> str:
    """The same for people."""
    who = str(fields["publisher"])[:16]
    if fields["event"] == "gap":
        return f"{who} {fields['first']}..{fields['last']} GAP: {fields['reason']}"
    if "addr" in fields:
        what = f"{fields['addr']}, {fields['size']} bytes"
    else:
        what = str(fields.get("text", fields.get("base64")))
    return f"{who} {fields['seq']} {what}"
