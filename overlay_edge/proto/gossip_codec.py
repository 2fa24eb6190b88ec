"""Gossip codec: messages of the mesh to and from their bytes.

Each kind is one row in ``_TABLE``: what its fields must be. Nothing that a message may hold is
without a bound, so what is decoded is small and has the right types all the way down.
"""

from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any

from overlay_edge.errors import PeerViolation
from overlay_edge.proto import cbor
from overlay_edge.proto.gossip_message import (
    MAX_ADDR_BYTES,
    MAX_CONTACTS,
    MAX_DATA_BYTES,
    MAX_HOP,
    MAX_IDS,
    MAX_OTHER_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_PROVIDERS,
    MAX_RANGES,
    MAX_SEQ,
    MAX_SIZE,
    MAX_STREAMS,
    MAX_TOPIC_BYTES,
    MESSAGE_ID_BYTES,
    NODE_ID_BYTES,
    Contact,
    Digest,
    Disconnect,
    ForwardJoin,
    Gap,
    Gossip,
    Graft,
    Held,
    Ihave,
    Join,
    Message,
    Neighbor,
    NeighborReply,
    Prune,
    Ranges,
    Shuffle,
    ShuffleReply,
    Want,
)
from overlay_edge.proto.objects import ADDR


def encode(message: Message) -> bytes:
    """Print a message as it travels."""
    kind, table = _OF_CLASS[type(message)]
    body: dict[str, Any] = {"kind": kind}
    for name, key, _, write, default in table:
        value = getattr(message, name)
        if value != default:
            body[key] = value if write is None else write(value)
    return cbor.encode(body)


def decode(payload: bytes) -> Message | None:
    """Read a payload; None = a kind of a later version.

    Raises:
        PeerViolation: ``BadCbor`` or ``BadGossip``.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise _bad(f"{len(payload)} bytes, limit {MAX_PAYLOAD_BYTES}")
    body = cbor.decode(payload)
    if not isinstance(body, dict):
        raise _bad("not a map")
    kind = body.get("kind")
    if type(kind) is not str:
        raise _bad("no kind")
    entry = _OF_KIND.get(kind)
    if entry is None:
        return None
    make, table = entry
    if make is not Gossip and len(payload) > MAX_OTHER_BYTES:
        raise _bad(f"{kind} of {len(payload)} bytes, limit {MAX_OTHER_BYTES}")
    found = []
    for _, key, read, _, default in table:
        value = body.get(key)
        if value is None:
            if default is _REQUIRED:
                raise _bad(f"{kind} without {key}")
            found.append(default)
        else:
            try:
                found.append(read(value))
            except (TypeError, ValueError) as misfit:
                raise _bad(f"{kind}.{key}: {misfit}") from None
    if make is Gossip:
        _check(found[-6], found[-5], found[-4])
    return make(*found)  # type: ignore[no-any-return]


def _check(data: bytes, addr: str, size: int) -> None:
    """A gossip has data or names an object, never both."""
    if addr and (data or not size):
        raise _bad("gossip of an object with data, or without its size")


def _bad(message: str) -> PeerViolation:
    return PeerViolation("BadGossip", f"not a gossip message: {message}")


Reader = Callable[[Any], Any]
Row = tuple[str, str, Reader, Callable[[Any], Any] | None, Any]
_REQUIRED = object()  # equal to nothing a message holds


def _number(most: int, least: int = 0) -> Reader:
    def read(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"expected {least} to {most}")
        return value

    return read


def _raw(length: int) -> Reader:
    def read(value: Any) -> bytes:
        if type(value) is not bytes or len(value) != length:
            raise ValueError(f"expected {length} bytes")
        return value

    return read


def _text(most: int) -> Reader:
    def read(value: Any) -> str:
        if type(value) is not str or len(value.encode()) > most:
            raise ValueError(f"expected text of up to {most} bytes")
        return value

    return read


def _topic(value: Any) -> str:
    if type(value) is not str or not 0 < len(value.encode()) <= MAX_TOPIC_BYTES:
        raise ValueError(f"expected text of 1 to {MAX_TOPIC_BYTES} bytes")
    return value


def _data(value: Any) -> bytes:
    if type(value) is not bytes or len(value) > MAX_DATA_BYTES:
        raise ValueError(f"expected up to {MAX_DATA_BYTES} bytes")
    return value


def _object(value: Any) -> str:
    if type(value) is not str or not ADDR.fullmatch(value):
        raise ValueError("expected b3: and 64 hex digits")
    return value


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("expected true or false")
    return value


def _list(of: Reader, most: int) -> Reader:
    def read(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) > most:
            raise ValueError(f"expected a list of up to {most}")
        return tuple(of(item) for item in value)

    return read


_NODE = _raw(NODE_ID_BYTES)
_ID = _raw(MESSAGE_ID_BYTES)
_ADDR = _text(MAX_ADDR_BYTES)
_U64 = _number((1 << 64) - 1)
_SEQ = _number(MAX_SEQ, 1)


def _contact(value: Any) -> Contact:
    if type(value) is not list or len(value) != 2:
        raise ValueError("expected an id and an address")
    return Contact(_NODE(value[0]), _ADDR(value[1]))


def _ranges(value: Any) -> Ranges:
    """Pairs, flat: first, last, first, last; rising, and not touching."""
    if type(value) is not list or len(value) > 2 * MAX_RANGES or len(value) % 2:
        raise ValueError(f"expected up to {MAX_RANGES} pairs")
    before = 0
    for at, number in enumerate(value):
        if type(number) is not int or not 0 < number <= MAX_SEQ:
            raise ValueError("expected sequence numbers")
        if number < before or (at % 2 == 0 and number == before):
            raise ValueError("expected pairs in order")
        before = number
    return tuple(zip(value[::2], value[1::2], strict=True))


def _streams(value: Any) -> dict[bytes, tuple[Held, ...]]:
    """``{publisher: [epoch, top, holes]}``; an earlier epoch may follow in the same list."""
    if type(value) is not dict or len(value) > MAX_STREAMS:
        raise ValueError(f"expected a map of up to {MAX_STREAMS}")
    found = {}
    for publisher, held in value.items():
        if type(held) is not list or len(held) not in (3, 6):
            raise ValueError("expected epoch, seq, holes")
        parts = tuple(
            Held(_U64(held[at]), _number(MAX_SEQ)(held[at + 1]), _ranges(held[at + 2]))
            for at in range(0, len(held), 3)
        )
        if any(part.holes and part.holes[-1][1] > part.top for part in parts):
            raise ValueError("expected holes below seq")
        found[_NODE(publisher)] = parts
    return found


def _write_contact(contact: Contact) -> list[Any]:
    return [contact.node, contact.addr]


def _write_contacts(contacts: tuple[Contact, ...]) -> list[Any]:
    return [_write_contact(contact) for contact in contacts]


def _write_ranges(ranges: Ranges) -> list[int]:
    return [number for pair in ranges for number in pair]


def _write_streams(streams: dict[bytes, tuple[Held, ...]]) -> dict[bytes, list[Any]]:
    return {
        publisher: [part for one in held for part in (one.epoch, one.top, _write_ranges(one.holes))]
        for publisher, held in streams.items()
    }


_CONTACTS = _list(_contact, MAX_CONTACTS)
# By class: kind, then for each field its reader and, where it is not plain, its writer. The key
# is the field's name, but for those in _KEYS.
_KEYS = {"first": "from", "last": "to", "is_repair": "repair"}
_TABLE: dict[type[Any], tuple[str, tuple[Any, ...]]] = {
    Gossip: (
        "gossip",
        (
            _ID,
            _topic,
            _NODE,
            _U64,
            _SEQ,
            _U64,
            _number(MAX_HOP),
            _data,
            _object,
            _number(MAX_SIZE),
            (_list(_contact, MAX_PROVIDERS), _write_contacts),
            _number(0xFFFF),
            _flag,
        ),
    ),
    Ihave: ("ihave", (_topic, _list(_ID, MAX_IDS), _list(_number(MAX_HOP), MAX_IDS))),
    Graft: ("graft", (_topic, _ID)),
    Prune: ("prune", (_topic,)),
    Want: (
        "want",
        (_list(_ID, MAX_IDS), _text(MAX_TOPIC_BYTES), _NODE, _U64, (_ranges, _write_ranges)),
    ),
    Join: ("join", (_ADDR, _flag)),
    ForwardJoin: ("forward_join", ((_contact, _write_contact), _number(MAX_HOP))),
    Neighbor: ("neighbor", (_flag, _ADDR)),
    NeighborReply: ("neighbor_reply", (_flag,)),
    Disconnect: ("disconnect", (_flag,)),
    Shuffle: ("shuffle", (_U64, _number(MAX_HOP), (_CONTACTS, _write_contacts))),
    ShuffleReply: ("shuffle_reply", (_U64, (_CONTACTS, _write_contacts))),
    Digest: ("digest", (_topic, (_streams, _write_streams), _flag, _flag)),
    Gap: ("gap", (_topic, _NODE, _U64, _SEQ, _SEQ)),
}


def _rows(kind: type[Any], readers: tuple[Any, ...]) -> tuple[Row, ...]:
    rows = []
    for field, reader in zip(fields(kind), readers, strict=True):
        read, write = reader if isinstance(reader, tuple) else (reader, None)
        key = _KEYS.get(field.name, field.name)
        default = _REQUIRED if field.default is MISSING else field.default
        rows.append((field.name, key, read, write, default))
    return tuple(rows)


_OF_CLASS = {make: (kind, _rows(make, readers)) for make, (kind, readers) in _TABLE.items()}
_OF_KIND = {kind: (make, rows) for make, (kind, rows) in _OF_CLASS.items()}
