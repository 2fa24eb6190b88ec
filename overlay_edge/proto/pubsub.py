"""Publish and subscribe: what a client may ask of the gossip application, and what it is told.

    publish     {"op":"publish","topic":"t","size":n}, then n bytes
                -> 200 {"outcome":"accepted","publisher":"<hex>","epoch":e,"seq":s}
    subscribe   {"op":"subscribe","topic":"t"}
                -> 200 {"topic":"t"}, then records, until the link or the node ends
    join        {"op":"join"}, with a capability for the mesh: a node shows it to one that has
                dialled it -> 200 {}

A record is its length in four bytes, and a CBOR map: a message has ``data``, or ``addr`` and
``size`` of an object; a gap has ``first``, ``last`` and ``reason``. Nothing is left out silently:
a number that comes as neither is still on its way.
"""

from dataclasses import dataclass

from overlay_edge.errors import PeerViolation, Refused
from overlay_edge.proto import cbor
from overlay_edge.proto.effects import Deliver, Gapped, Outcome, Queued, Shed
from overlay_edge.proto.frame import decode_object, encode_json
from overlay_edge.proto.gossip_message import MAX_DATA_BYTES, MAX_TOPIC_BYTES, NOBODY

MAX_REQUEST_BYTES = 4 << 10  # a topic of 128 bytes may be 768 in JSON
MAX_SIZE = 1 << 53
RECORD_BYTES = 400  # the most a record has beside its data
MAX_RECORD_BYTES = MAX_DATA_BYTES + RECORD_BYTES
LENGTH_BYTES = 4
MESH_TOPIC = "_mesh"  # publishing there is being a node: nobody else may
JOIN = encode_json({"op": "join"})
BUSY_RETRY_MS = 1000


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish ``size`` bytes that follow."""

    topic: str
    size: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Tell everything of a topic from now on."""

    topic: str


@dataclass(frozen=True, slots=True)
class Join:
    """Whoever asks is in the mesh, as its capability says."""


def read_request(payload: bytes) -> Publish | Subscribe | Join:
    """Read the head of a request.

    Raises:
        Refused: 400 ``bad_request``; the session stays usable.
    """
    if len(payload) > MAX_REQUEST_BYTES:
        raise _bad(f"request of {len(payload)} bytes, limit {MAX_REQUEST_BYTES}")
    try:
        body = decode_object(payload, "gossip request")
    except PeerViolation as violation:
        raise _bad(str(violation)) from None
    match body.get("op"):
        case "publish":
            size = body.get("size")
            if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_SIZE:
                raise _bad("publish: size, expected a whole number of bytes")
            return Publish(_topic(body.get("topic"), "publish"), size)
        case "subscribe":
            return Subscribe(_topic(body.get("topic"), "subscribe"))
        case "join":
            return Join()
        case _:
            raise _bad("op, expected publish, subscribe or join")


def answer(publisher: bytes, outcome: Outcome, addr: str = "") -> bytes:
    """What a publisher is told.

    Args:
        publisher: This node.
        outcome: What became of it.
        addr: Of the object that the message was put as.

    Raises:
        Refused: It was not published: 503 ``shed``, 413 ``too_large`` or 400 ``bad_request``.
    """
    if isinstance(outcome, Shed):
        raise refused(outcome)
    said: dict[str, object] = {
        "outcome": "queued" if isinstance(outcome, Queued) else "accepted",
        "publisher": publisher.hex(),
        "epoch": outcome.epoch,
        "seq": outcome.seq,
    }
    if isinstance(outcome, Queued):
        said["reason"] = outcome.reason
    if addr:
        said["addr"] = addr
    return encode_json(said)


def refused(outcome: Shed) -> Refused:
    """A message that was not published."""
    if outcome.reason == "topic":
        return _bad(f"topic, expected 1 to {MAX_TOPIC_BYTES} bytes of UTF-8")
    if outcome.reason == "too_large":
        return Refused(413, "too_large", "longer than a message may be")
    wait_ms = outcome.retry_after_ms or None
    return Refused(503, "shed", f"{outcome.reason}: not published", retry_after_ms=wait_ms)


def encode_record(event: Deliver | Gapped) -> bytes:
    """A message or a gap, with its length before it."""
    fields: dict[str, object] = {
        "topic": event.topic,
        "publisher": event.publisher,
        "epoch": event.epoch,
    }
    if isinstance(event, Gapped):
        fields |= {"first": event.first, "last": event.last, "reason": event.reason}
    elif event.addr:
        fields |= {"seq": event.seq, "hop": event.hop, "addr": event.addr, "size": event.size}
    else:
        fields |= {"seq": event.seq, "hop": event.hop, "data": event.data}
    body = cbor.encode(fields)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


class RecordReader:
    """Turns a stream of records, cut anywhere, into messages and gaps."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[Deliver | Gapped]:
        """Take bytes; the records that are whole now.

        Raises:
            PeerViolation: It is no record.
        """
        self._data += data
        found = []
        while len(self._data) >= LENGTH_BYTES:
            end = LENGTH_BYTES + int.from_bytes(self._data[:LENGTH_BYTES], "big")
            if end > MAX_RECORD_BYTES:
                raise PeerViolation("BadRecord", f"record of {end} bytes")
            if len(self._data) < end:
                break
            found.append(_record(bytes(self._data[LENGTH_BYTES:end])))
            del self._data[:end]
        return found


def _record(body: bytes) -> Deliver | Gapped:
    fields = cbor.decode(body)
    if not isinstance(fields, dict):
        raise PeerViolation("BadRecord", "record, expected a map")

    def text(name: str) -> str:
        return value if isinstance(value := fields.get(name), str) else ""

    def number(name: str) -> int:
        return value if isinstance(value := fields.get(name), int) else 0

    def raw(name: str) -> bytes:
        return value if isinstance(value := fields.get(name), bytes) else b""

    topic, publisher, epoch = text("topic"), raw("publisher") or NOBODY, number("epoch")
    if "reason" in fields:
        first, last = number("first"), number("last")
        return Gapped(topic, publisher, epoch, first, last, text("reason"))
    return Deliver(
        topic,
        publisher,
        epoch,
        number("seq"),
        raw("data"),
        text("addr"),
        number("size"),
        number("hop"),
    )


def _topic(value: object, op: str) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise _bad(f"{op}: topic, expected 1 to {MAX_TOPIC_BYTES} bytes of printable UTF-8")
    if not 0 < len(value.encode()) <= MAX_TOPIC_BYTES or value == MESH_TOPIC:
        raise _bad(f"{op}: topic, expected 1 to {MAX_TOPIC_BYTES} bytes of printable UTF-8")
    return value


def _bad(message: str) -> Refused:
    return Refused(400, "bad_request", message)
