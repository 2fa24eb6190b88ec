"""Intruder: a node of the mesh that means harm, one kind after the other.

python -m tests.netns.intruder ADDRESS FOLDER

FOLDER is in RAM, for its identities: each kind comes as somebody else. It goes on with a kind
until it is thrown out, and prints how many frames that took.
"""

import asyncio
import contextlib
import json
import ssl
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from overlay_edge.net.stream import node_id
from overlay_edge.proto import cbor
from overlay_edge.proto.frame import EVENT, REQ, App, Frame, encode_json
from overlay_edge.proto.frame import encode as encode_frame
from overlay_edge.proto.gossip_codec import encode
from overlay_edge.proto.gossip_message import (
    MAX_IDS,
    Digest,
    Gossip,
    Graft,
    Held,
    Ihave,
    Join,
    Neighbor,
    message_id,
)
from tests.soak.caller import Caller, tls
from tests.support.meshed import identity_in

MAX_FRAMES = 20_000  # whoever is not thrown out by then is only not listened to
BATCH = 50
EPOCH = 1 << 60
TOPIC = "intruder"
LAST_WORDS_S = 5.0

Payloads = Callable[[bytes], Iterator[bytes]]


def _message(node: bytes, topic: str, seq: int, epoch: int = EPOCH) -> bytes:
    id = message_id(node, epoch, seq)
    return encode(Gossip(id, topic, node, epoch, seq, 0, 1, bytes(100)))


def garbage(_: bytes) -> Iterator[bytes]:
    """No message at all."""
    return (b"\xff\x00garbage" for _ in count())


def wrong_ids(node: bytes) -> Iterator[bytes]:
    """Messages whose id is another's."""
    return (encode(Gossip(bytes(16), TOPIC, node, 1, n, 0, 1, b"")) for n in count(1))


def ids(node: bytes) -> Iterator[bytes]:
    """Ids of messages that are not there."""
    for n in count(1):
        yield encode(Ihave(TOPIC, tuple(message_id(node, n, seq) for seq in range(MAX_IDS))))


def grafts(_: bytes) -> Iterator[bytes]:
    """Push me, push me."""
    return (encode(Graft(TOPIC)) for _ in count())


def joins(_: bytes) -> Iterator[bytes]:
    """Let me in, tell everybody."""
    return (encode(Join("10.90.0.250:1")) for _ in count())


def topics(node: bytes) -> Iterator[bytes]:
    """A topic for each message."""
    return (_message(node, f"{TOPIC}-{n}", 1, EPOCH + n) for n in count())


def messages(node: bytes) -> Iterator[bytes]:
    """Far more messages than anybody takes."""
    return (_message(node, TOPIC, n) for n in count(1))


def digests(node: bytes) -> Iterator[bytes]:
    """Numbers that nobody has."""
    held = (Held(EPOCH, 1 << 61, ((1, 1 << 60),)),)
    return (encode(Digest(TOPIC, {node: held}, True)) for _ in count())


def songs(_: bytes) -> Iterator[bytes]:
    """Kinds that nobody knows."""
    return (cbor.encode({"kind": "song"}) for _ in count())


KINDS: tuple[Payloads, ...] = (
    garbage,
    wrong_ids,
    ids,
    grafts,
    joins,
    topics,
    messages,
    digests,
    songs,
)


def identity(folder: Path) -> tuple[ssl.SSLContext, bytes]:
    """Somebody new: a context that shows a certificate, and the id that goes with it."""
    files = identity_in(folder)
    context = tls()
    context.load_cert_chain(files.cert, files.key)
    return context, node_id(ssl.PEM_cert_to_DER_cert(Path(files.cert).read_text()))


async def intrude(address: str, folder: Path, kind: Payloads) -> dict[str, object]:
    """One kind, as a node with an identity of its own."""
    context, node = identity(folder)
    said = {"ua": "intruder", "node": node.hex(), "features": {"gossip": 1}}
    hello = encode_frame(Frame(REQ, payload=encode_json(said)))
    caller = await Caller.greeted(address, hello=hello, context=context)
    sent = 0
    reading = asyncio.ensure_future(_drain(caller))
    try:
        await caller.send(_event(encode(Neighbor(True, ""))))
        payloads = kind(node)
        while sent < MAX_FRAMES and not reading.done():
            await caller.send(*(_event(next(payloads)) for _ in range(BATCH)))
            sent += BATCH
            await asyncio.sleep(0)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reading, LAST_WORDS_S)
    except OSError:
        pass
    finally:
        is_out = reading.done()
        reading.cancel()
        caller.close()
    return {"kind": kind.__name__, "node": node.hex(), "sent": sent, "thrown_out": is_out}


def _event(payload: bytes) -> Frame:
    return Frame(EVENT, app=App.GOSSIP, payload=payload)


async def _drain(caller: Caller) -> None:
    with contextlib.suppress(OSError):
        async for _ in caller.frames():
            pass


def main() -> None:
    """All kinds."""
    address, folder = sys.argv[1], Path(sys.argv[2])
    for kind in KINDS:
        print(json.dumps(asyncio.run(intrude(address, folder, kind))), flush=True)


if __name__ == "__main__":
    main()
