"""Gossip client: publish and subscribe through a node, over a greeted link to it."""

import json
from collections.abc import Callable
from typing import Any, BinaryIO

from overlay_edge.client import Client
from overlay_edge.errors import TransportError
from overlay_edge.proto.effects import Deliver, Gapped
from overlay_edge.proto.frame import App, encode_json
from overlay_edge.proto.pubsub import RecordReader
from overlay_edge.sources import FileSource


async def publish(client: Client, topic: str, file: BinaryIO, size: int) -> dict[str, Any]:
    """Publish ``size`` bytes of a file, and return what became of them.

    Returns:
        ``outcome`` is ``accepted`` or ``queued``, the latter with a ``reason``; ``publisher``,
        ``epoch`` and ``seq`` name the message; ``addr`` is there if it was put as an object.

    Raises:
        Refused: It was not published; 503 ``shed`` says why.
        TransportError: The link failed.
    """
    request = encode_json({"op": "publish", "topic": topic, "size": size})
    source = FileSource(file, size, None) if size else None
    head = await client.call(App.GOSSIP, request, _nothing, source)
    try:
        said = json.loads(head)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise TransportError("the answer to publish, expected a JSON object")
    return said


async def subscribe(
    client: Client,
    topic: str,
    tell: Callable[[Deliver | Gapped], object],
    *,
    on_begun: Callable[[], object] = lambda: None,
) -> None:
    """Hear a topic until the node leaves.

    The contract has no way to stop an answer: hang up to end it sooner.

    Args:
        client: The link.
        topic: What to hear.
        tell: Called for each message and gap.
        on_begun: Called when nothing is missed any more.

    Raises:
        Refused: The node does not let us.
        TransportError: The link failed.
    """
    reader = RecordReader()

    def take(data: bytes) -> None:
        for event in reader.feed(data):
            tell(event)

    request = encode_json({"op": "subscribe", "topic": topic})
    await client.call(App.GOSSIP, request, take, on_head=lambda _: on_begun())


def _nothing(_: bytes) -> None:
    raise TransportError("the answer has bytes behind it, expected none")
