"""MQTT 3.1.1, the part that delivers lines to one topic, each acknowledged (QoS 1).

    CONNECT --> CONNACK    then for each batch    PUBLISH PUBLISH ... --> PUBACK PUBACK ...

Nothing is read while no batch is on its way, and there is no keep-alive: a broker that went
away meanwhile is noticed by the next batch, which then goes over a new connection. Hence no
task and no timer lives here, and an abandoned connection is closed at once. The audit needs no
more, and no library for it; a bridge, which hears as well, has :mod:`overlay_edge.bridge.broker`.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from overlay_edge.config.url import Url
from overlay_edge.errors import TransportError
from overlay_edge.host.secret import Secret, gather, wipe

CONNECT, CONNACK, PUBLISH, PUBACK = 0x10, 0x20, 0x30, 0x40
QOS_1 = 0x02
CLEAN_SESSION, HAS_PASSWORD, HAS_USER = 0x02, 0x40, 0x80
MAX_PACKET = 1024  # what a broker has to say to us takes 2 bytes
MAX_IDS = 0xFFFF
REFUSALS = {
    1: "does not speak MQTT 3.1.1",
    2: "does not like our client id",
    3: "is unavailable",
    4: "does not know these credentials",
    5: "does not let us in",
}

Deliver = Callable[[Sequence[str]], Awaitable[None]]


@asynccontextmanager
async def open_broker(
    url: Url, context: ssl.SSLContext | None, client_id: str, secret: Secret | None
) -> AsyncIterator[Deliver]:
    """Connect to a broker; the topic is the path of the URL. Bound it by a timeout.

    Args:
        url: Where.
        context: TLS, or None.
        client_id: What the broker knows us as: a newer connection ends an older one.
        secret: ``user:password``, or nothing; read once, before this returns.

    Raises:
        TransportError: It refuses us, or does not speak MQTT.
        OSError: There is no broker, or it goes away.
    """
    reader, writer = await asyncio.open_connection(url.host, url.port, ssl=context)
    topic = _text(url.path.strip("/"))
    last_id = 0

    async def deliver(records: Sequence[str]) -> None:
        nonlocal last_id
        awaited = set()
        for record in records:
            last_id = last_id % MAX_IDS + 1  # 0 is not an id
            awaited.add(last_id)
            body = topic + last_id.to_bytes(2, "big") + record.encode()
            writer.write(_packet(PUBLISH | QOS_1, body))
        await writer.drain()
        while awaited:
            kind, body = await _read(reader)
            if kind == PUBACK:
                awaited.discard(int.from_bytes(body[:2], "big"))

    hello = _hello(client_id, secret)
    try:
        writer.write(hello)
        await writer.drain()
        kind, body = await _read(reader)
        wipe(hello)  # they have answered it: no copy of it waits to be sent
        if kind != CONNACK or len(body) != 2:
            raise TransportError(f"{url.host}:{url.port}: not an MQTT broker")
        if body[1]:
            why = REFUSALS.get(body[1], f"answers {body[1]}")
            raise TransportError(f"broker {url.host}:{url.port}: {why}")
        yield deliver
    finally:
        writer.transport.abort()  # a broker that takes nothing must not keep it open
        wipe(hello)


def _hello(client_id: str, secret: Secret | None) -> bytearray:
    """The first packet; wipe it when it is sent."""
    shown = secret.reveal() if secret else memoryview(b"")
    colon = secret.find(b":") if secret else -1
    user, password = (shown, shown[:0]) if colon < 0 else (shown[:colon], shown[colon + 1 :])
    flags = CLEAN_SESSION
    parts: list[bytes | memoryview] = []
    if user:
        flags |= HAS_USER | HAS_PASSWORD
        parts = [_length(user), user, _length(password), password]
    keepalive = b"\0\0"  # off: see above
    head = _text("MQTT") + bytes([4, flags]) + keepalive + _text(client_id)
    return gather((_head(CONNECT, len(head) + sum(map(len, parts))), head, *parts))


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """One packet: its kind, and what follows its length."""
    try:
        kind = (await reader.readexactly(1))[0] & 0xF0
        length = shift = 0
        while True:
            byte = (await reader.readexactly(1))[0]
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 7:
                raise TransportError(f"the broker sends over {MAX_PACKET} bytes")
        if length > MAX_PACKET:
            raise TransportError(f"the broker sends {length} bytes, limit {MAX_PACKET}")
        return kind, await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        raise TransportError("the broker hung up") from None


def _packet(kind: int, body: bytes) -> bytes:
    return _head(kind, len(body)) + body


def _head(kind: int, left: int) -> bytes:
    """How a packet begins: its length is in groups of seven bits, the lowest first."""
    length = bytearray()
    while True:
        left, low = left >> 7, left & 0x7F
        length.append(low | 0x80 if left else low)
        if not left:
            return bytes([kind]) + bytes(length)


def _text(text: str) -> bytes:
    data = text.encode()
    return _length(data) + data


def _length(data: bytes | memoryview) -> bytes:
    return len(data).to_bytes(2, "big")
