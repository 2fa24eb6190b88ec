"""Objects: what a peer may ask of the store (``oap1.md`` section 5)."""

import re
from dataclasses import dataclass

from overlay_edge.errors import PeerViolation, Refused
from overlay_edge.proto.frame import CHUNK_BYTES, decode_object, encode_json

ADDR = re.compile(r"b3:[0-9a-f]{64}")
MAX_REQUEST_BYTES = (
    4 << 10
)  # op, size and address have 120, a topic up to 1536; no request has more
MAX_TOPIC_CHARS = 128
MAX_SIZE = 1 << 53  # integers beyond it are not exact in every JSON reader


@dataclass(frozen=True, slots=True)
class Get:
    """Send an object's bytes."""

    addr: str


@dataclass(frozen=True, slots=True)
class Head:
    """Say an object's size."""

    addr: str


@dataclass(frozen=True, slots=True)
class Put:
    """Take an object of ``size`` bytes.

    Attributes:
        addr: What the sender believes it hashes to.
        topic: What it is about: a label to purge it by.
    """

    size: int
    addr: str | None
    topic: str | None = None


def read_request(payload: bytes) -> Get | Head | Put:
    """Read the head of an object request.

    Raises:
        Refused: 400 ``bad_request``; the session stays usable.
    """
    if len(payload) > MAX_REQUEST_BYTES:
        raise bad_request(f"request of {len(payload)} bytes, limit {MAX_REQUEST_BYTES}")
    try:
        body = decode_object(payload, "objects request")
    except PeerViolation as violation:
        raise bad_request(str(violation)) from None
    match body.get("op"):
        case "get":
            return Get(_addr(body.get("addr")))
        case "head":
            return Head(_addr(body.get("addr")))
        case "put":
            size, addr = body.get("size"), body.get("addr")
            if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_SIZE:
                raise bad_request("put: size, expected a whole number of bytes")
            return Put(size, None if addr is None else _addr(addr), _topic(body.get("topic")))
        case _:
            raise bad_request("op, expected get, put or head")


def describe(addr: str, size: int) -> bytes:
    """The answer to ``head``, and the head of the answer to ``get``."""
    return encode_json({"addr": addr, "size": size, "chunk": CHUNK_BYTES})


def stored(addr: str) -> bytes:
    """The answer to ``put``."""
    return encode_json({"addr": addr})


def bad_request(message: str) -> Refused:
    """A 400 that says what was expected."""
    return Refused(400, "bad_request", message)


def not_found(addr: str) -> Refused:
    """A 404 for an address nobody put, or whose time is over."""
    return Refused(404, "not_found", f"{addr} is not here")


def is_topic(value: object) -> bool:
    """May objects be labelled with it?"""
    return isinstance(value, str) and 0 < len(value) <= MAX_TOPIC_CHARS and value.isprintable()


def _topic(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not is_topic(value):
        raise bad_request(f"put: topic, expected 1 to {MAX_TOPIC_CHARS} printable characters")
    return value


def _addr(value: object) -> str:
    if not isinstance(value, str) or not ADDR.fullmatch(value):
        raise bad_request("addr, expected b3: and 64 lower-case hex digits")
    return value
