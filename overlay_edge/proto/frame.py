"""Frames: the fixed header of OAP/1 and what is refused by it alone.

Layout (``oap1.md`` section 2), all integers big-endian::

    0     4     6       8      10    12        28        30        38         38+cap_len   len
    | len | ver | flags | code | app | tenant  | cap_len | corr_id | cap ...  | payload ... |
    | u32 | u16 |  u16  | u16  | u16 |  u128   |   u16   |   u64   |

A frame is judged from the header before a byte of its body is kept, in the order of
:func:`judge_header`; a peer cannot make us buffer more than one frame.
"""

import json
import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from overlay_edge.errors import LocalMisuse, PeerViolation
from overlay_edge.proto.pool import Share

HEADER = struct.Struct(">IHHHH16sHQ")
HEADER_BYTES = HEADER.size
MAX_FRAME_BYTES = 1 << 20  # the contract: whole frame, header included
CHUNK_BYTES = 64 << 10  # the contract: payload of one frame of bulk data
VERSION = 1
MAX_CAP_BYTES = 0xFFFF  # what cap_len can say
# A chunk with its header and a capability: what every link may hold while it is read.
OWN_FRAME_BYTES = CHUNK_BYTES + HEADER_BYTES + (4 << 10)


class Flag(IntFlag):
    """Bits of the ``flags`` field; bits 8 to 15 must be zero."""

    REQ = 0x01
    RESP = 0x02
    EVENT = 0x04
    START = 0x08
    END = 0x10
    ACK_REQ = 0x20
    COMP = 0x40
    APP_E2E = 0x80


# Plain ints: IntFlag arithmetic costs a microsecond, and every frame does several.
REQ, RESP, EVENT = int(Flag.REQ), int(Flag.RESP), int(Flag.EVENT)
START, END = int(Flag.START), int(Flag.END)
COMP, APP_E2E = int(Flag.COMP), int(Flag.APP_E2E)
KINDS = REQ | RESP | EVENT
KNOWN_FLAGS = 0xFF


class App(IntEnum):
    """Application protocols of ``oap1.md`` section 5."""

    CONTROL = 0x0000
    GOSSIP = 0x0101
    MAILBOX = 0x0201
    OBJECTS = 0x0301
    ECHO = 0x0F01


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame.

    Attributes:
        flags: Bits of :class:`Flag`.
        code: 0 on requests and events, a status on responses.
        app: Application protocol, see :class:`App`.
        tenant: 0 = none.
        corr_id: The request's lineage; 0 = none.
        cap: Opaque capability, only on START.
        payload: As it travelled: still compressed when COMP is set.
    """

    flags: int
    code: int = 0
    app: int = 0
    tenant: int = 0
    corr_id: int = 0
    cap: bytes = b""
    payload: bytes = b""


def encode(frame: Frame) -> bytes:
    """Print a frame as it travels.

    Raises:
        LocalMisuse: If the frame breaks a rule that a decoder would refuse.
    """
    length = HEADER_BYTES + len(frame.cap) + len(frame.payload)
    if frame.flags & ~KNOWN_FLAGS:
        raise LocalMisuse(f"flags {frame.flags:#06x}, bits 8 to 15 must be 0")
    if length > MAX_FRAME_BYTES:
        raise LocalMisuse(f"frame of {length} bytes, limit {MAX_FRAME_BYTES}")
    if frame.cap and not frame.flags & START:
        raise LocalMisuse("a capability travels only on START")
    if len(frame.cap) > MAX_CAP_BYTES:
        raise LocalMisuse(f"capability of {len(frame.cap)} bytes, limit {MAX_CAP_BYTES}")
    header = HEADER.pack(
        length,
        VERSION,
        frame.flags,
        frame.code,
        frame.app,
        frame.tenant.to_bytes(16, "big"),
        len(frame.cap),
        frame.corr_id,
    )
    return b"".join((header, frame.cap, frame.payload))


def judge_header(length: int, version: int, flags: int, cap_len: int) -> None:
    """Refuse a header, in the order every implementation must share.

    Raises:
        PeerViolation: Named as ``oap1.md`` section 2 names it.
    """
    if flags & ~KNOWN_FLAGS:
        raise PeerViolation("BadFlags", f"flags {flags:#06x}, bits 8 to 15 must be 0")
    if version != VERSION:
        raise PeerViolation("BadVersion", f"version {version}, expected {VERSION}")
    if length == 0 or length > MAX_FRAME_BYTES:
        raise PeerViolation(
            "FrameTooLarge",
            f"frame of {length} bytes, expected {HEADER_BYTES} to {MAX_FRAME_BYTES}",
            code=413,
            token="too_large",
        )
    if cap_len and not flags & START:
        raise PeerViolation("CapOnNonStart", f"{cap_len} capability bytes on a frame without START")
    if length < HEADER_BYTES:
        raise PeerViolation(
            "TruncatedHeader", f"frame of {length} bytes, the header alone has {HEADER_BYTES}"
        )
    if cap_len > length - HEADER_BYTES:
        raise PeerViolation(
            "CapOutOfBounds", f"capability of {cap_len} bytes in a frame of {length}"
        )


@dataclass(slots=True)
class FrameCounts:
    """Frames that went one way, by what they were for."""

    control: int = 0
    gossip: int = 0
    other: int = 0

    def count(self, app: int) -> None:
        """Count one frame of an application."""
        if app == App.CONTROL:
            self.control += 1
        elif app == App.GOSSIP:
            self.gossip += 1
        else:
            self.other += 1

    def add(self, others: "FrameCounts") -> None:
        """Count the frames of another."""
        self.control += others.control
        self.gossip += others.gossip
        self.other += others.other


@dataclass(frozen=True, slots=True)
class Skipped:
    """A frame that cannot be held just now: its header, its body thrown away.

    Attributes:
        why: For people.
    """

    flags: int
    app: int
    tenant: int
    corr_id: int
    why: str = "no room for a frame longer than a chunk"


class FrameDecoder:
    """Turns a byte stream, cut anywhere, into whole frames.

    Feeding and taking are separate calls, so that the good frames before a bad one are
    delivered. The caller must take frames until None before it feeds again: then at most
    one frame and one read are held.

    Args:
        share: What a frame over ``OWN_FRAME_BYTES`` draws on while it is read; None = no
            such limit, for a tool that reads one stream.
    """

    def __init__(self, share: Share | None = None) -> None:
        self._buffer = bytearray()
        self._failure: PeerViolation | None = None
        self._share = share
        self._drawn = 0
        self._to_skip = 0
        self._skipped: Skipped | None = None

    def feed(self, data: bytes) -> None:
        """Add bytes; after a refusal they are dropped."""
        if self._to_skip:
            skipped = min(self._to_skip, len(data))
            self._to_skip -= skipped
            data = data[skipped:]
        if self._failure is None:
            self._buffer += data

    def take_skipped(self) -> Skipped | None:
        """The frame there was no room for, once; ask when :meth:`next_frame` said None."""
        skipped, self._skipped = self._skipped, None
        return skipped

    def drop(self, why: str) -> bool:
        """Overwrite what is here of a frame that is not whole, and skip the rest of it.

        A frame of the protocol itself is let come: it holds nothing that a peer stores.

        Returns:
            False if whole frames wait: they cannot be unheard.
        """
        buffer = self._buffer
        if len(buffer) < HEADER_BYTES or self._failure is not None:
            return True
        length, _, flags, _, app, tenant, _, corr_id = HEADER.unpack_from(buffer)
        if len(buffer) >= length:
            return False
        if app != App.CONTROL:
            self._to_skip = length - len(buffer)
            buffer[:] = bytes(len(buffer))
            self.close()
            self._skipped = Skipped(flags, app, int.from_bytes(tenant, "big"), corr_id, why)
        return True

    def close(self) -> None:
        """Let go of everything."""
        self._buffer.clear()
        self._settle()

    @property
    def buffered(self) -> int:
        """Bytes held that are not yet a frame."""
        return len(self._buffer)

    @property
    def missing(self) -> int:
        """Bytes still needed for the next frame, as far as can be told now."""
        held = len(self._buffer)
        if held < HEADER_BYTES:
            return HEADER_BYTES - held
        return max(0, int.from_bytes(self._buffer[:4], "big") - held)

    @property
    def expected(self) -> int:
        """Length of the frame being read, as far as can be told now."""
        return self.buffered + self.missing

    def next_frame(self) -> Frame | None:
        """Take the next whole frame, or None when more bytes are needed.

        Raises:
            PeerViolation: The envelope is broken. Every later call raises it again:
                nothing behind a broken envelope can be trusted.
        """
        if self._failure is not None:
            raise self._failure
        buffer = self._buffer
        if len(buffer) < HEADER_BYTES:
            return None
        length, version, flags, code, app, tenant, cap_len, corr_id = HEADER.unpack_from(buffer)
        try:
            judge_header(length, version, flags, cap_len)
        except PeerViolation as violation:
            self._failure = violation
            self.close()
            raise
        if len(buffer) < length:
            if length <= OWN_FRAME_BYTES or self._share is None or self._drawn:
                return None
            if self._share.take(length):
                self._drawn = length
                return None
            self._to_skip = length - len(buffer)
            buffer.clear()
            self._skipped = Skipped(flags, app, int.from_bytes(tenant, "big"), corr_id)
            return None
        body = HEADER_BYTES + cap_len
        with memoryview(buffer) as view:
            cap = bytes(view[HEADER_BYTES:body])
            payload = bytes(view[body:length])
        del buffer[:length]
        self._settle()
        return Frame(
            flags=flags,
            code=code,
            app=app,
            tenant=int.from_bytes(tenant, "big"),
            corr_id=corr_id,
            cap=cap,
            payload=payload,
        )

    def _settle(self) -> None:
        drawn, self._drawn = self._drawn, 0
        if drawn and self._share is not None:
            self._share.give(drawn)


def encode_json(value: object) -> bytes:
    """Compact JSON, keys in the order given: the order is part of the HELLO answer."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def decode_object(payload: bytes, what: str) -> dict[str, object]:
    """Read a JSON object from a peer.

    Args:
        payload: UTF-8 JSON.
        what: What it is, for the error.

    Raises:
        PeerViolation: Not JSON, not an object, or too deep to parse.
    """
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        raise PeerViolation("BadJson", f"{what}: expected a JSON object") from None
    if not isinstance(value, dict):
        raise PeerViolation("BadJson", f"{what}: expected a JSON object")
    return value
