"""Stream: the one interface between a link and whatever carries its bytes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from blake3 import blake3


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What is known of a connection once it is up.

    Attributes:
        peer: Remote address for logs, ``host:port``.
        group: Key exchange that was negotiated, such as ``X25519MLKEM768``.
        cipher: Cipher suite.
        fingerprint: SHA-256 of the peer's certificate, lower-case hex; empty = it showed none.
        chain: The peer's certificates in DER, leaf first; what to make of them is the owner's.
    """

    peer: str
    group: str
    cipher: str
    fingerprint: str
    chain: tuple[bytes, ...] = ()

    @property
    def pq(self) -> str:
        """``hybrid`` when the key exchange has a post-quantum half, else ``classical``."""
        return "hybrid" if "mlkem" in self.group.lower() else "classical"

    @property
    def node(self) -> bytes:
        """The peer's id in the mesh, proven by the handshake; empty = it showed no certificate."""
        return node_id(self.chain[0]) if self.chain else b""


def node_id(certificate: bytes) -> bytes:
    """The id of the node that has a certificate, which is in DER."""
    return blake3(certificate).digest()


class Stream(Protocol):
    """A connection that carries bytes both ways."""

    @property
    def is_writable(self) -> bool:
        """Nothing waits to leave: one more write is welcome."""
        ...  # pragma: no cover

    def write(self, data: bytes) -> None:
        """Send bytes; call only while writable, or what is held grows."""
        ...  # pragma: no cover

    def pause_reading(self) -> None:
        """Stop taking bytes from the peer; idempotent."""
        ...  # pragma: no cover

    def resume_reading(self) -> None:
        """Take bytes again; idempotent."""
        ...  # pragma: no cover

    def export_key(self, label: bytes, length: int) -> bytes:
        """Keying material both ends share and nobody else (RFC 8446 section 7.5)."""
        ...  # pragma: no cover

    def close(self) -> None:
        """End politely: what was written leaves first, for a bounded time; idempotent."""
        ...  # pragma: no cover

    def abort(self) -> None:
        """End at once; idempotent."""
        ...  # pragma: no cover


class StreamOwner(Protocol):
    """Who a stream reports to. Calls come on the event loop, one at a time."""

    def stream_opened(self, stream: Stream, info: StreamInfo) -> None:
        """The connection is up; called at most once, before the next two."""
        ...  # pragma: no cover

    def stream_received(self, data: bytes) -> None:
        """Bytes came."""
        ...  # pragma: no cover

    def stream_writable(self) -> None:
        """What was written has left."""
        ...  # pragma: no cover

    def stream_closed(self, reason: str) -> None:
        """The connection is gone; always called, exactly once, last.

        Args:
            reason: Why, for people; empty = it ended in order.
        """
        ...  # pragma: no cover


HandshakeReport = Callable[[str], None]
"""Called once per attempt with the outcome: ``ok``, or why it failed (a metric label)."""


def address_of(name: object) -> str:
    """A socket name as ``host:port``, with brackets around IPv6."""
    if not isinstance(name, tuple) or len(name) < 2:
        return "unknown"
    host, port = name[0], name[1]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
