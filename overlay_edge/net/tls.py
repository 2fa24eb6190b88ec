"""TLS 1.3 over an asyncio Protocol with memory BIOs.

asyncio's own TLS keeps a 256 KiB buffer for each connection; this keeps what OpenSSL needs
and nothing else. One write is one record batch and one send: the link hands over at most a
chunk at a time, and the next only when that has left.
"""

import asyncio
import contextlib
import socket
from hashlib import sha256
from typing import cast

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from overlay_edge.errors import TransportError
from overlay_edge.net.context import ALPN, drain, reason_of
from overlay_edge.net.stream import HandshakeReport, StreamInfo, StreamOwner, address_of

# Taken from the kernel at a time, and from OpenSSL. asyncio would take 256 KiB, and a peer that
# we stop reading from makes us hold one read: twice, as OpenSSL never shrinks its buffer.
READ_BYTES = 64 << 10
NOTSENT_LOWAT_BYTES = 128 << 10  # two chunks in the kernel keep a link busy; more only delays pongs
LINGER_S = 1.0  # a refusal gets this long to reach a peer that is still sending
TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)  # in the module from 3.12

FAILURES = {  # words in OpenSSL's reason -> label of tls_handshake_failures_total
    "application protocol": "alpn",
    "unsupported protocol": "version",
    "protocol version": "version",
    "version too low": "version",
    "shared cipher": "cipher",
    "key share": "group",
    "certificate": "cert",
}


def _label(reason: str) -> str:
    return next((label for words, label in FAILURES.items() if words in reason), "tls")


class TlsStream(asyncio.BufferedProtocol):
    """One TLS connection: ciphertext outside, bytes inside.

    Args:
        context: From :func:`server_context` or :func:`client_context`.
        owner: Who is told.
        report: Told once how the handshake went.
        is_server: Which side we are.
    """

    def __init__(
        self,
        context: SSL.Context,
        owner: StreamOwner,
        report: HandshakeReport,
        *,
        is_server: bool,
    ) -> None:
        self._tls = SSL.Connection(context, None)
        self._is_server = is_server
        if is_server:
            self._tls.set_accept_state()
        else:
            self._tls.set_connect_state()
        self._owner = owner
        self._report: HandshakeReport | None = report
        self._transport: asyncio.Transport | None = None
        self._taken: bytearray | None = None
        self._is_open = False
        self._is_paused = False
        self._is_closing = False
        self._linger: asyncio.TimerHandle | None = None
        self._why = ""

    # -- asyncio's side -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the handshake."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES)
        self._handshake()

    def get_buffer(self, sizehint: int) -> bytearray:
        """Where ciphertext may be put; held only while it is."""
        self._taken = bytearray(READ_BYTES)
        return self._taken

    def buffer_updated(self, nbytes: int) -> None:
        """Ciphertext came."""
        taken, self._taken = self._taken, None
        if self._is_closing or taken is None:
            return  # read and dropped, so that our last words are not lost to a reset
        with memoryview(taken) as view:
            self._tls.bio_write(bytes(view[:nbytes]))
        if not self._is_open and not self._handshake():
            return
        self._read()

    def eof_received(self) -> bool:
        """The peer sends no more; a link has no use for half a connection."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if self._linger is not None:
            self._linger.cancel()
        self._finish_handshake("closed")
        self._is_closing = True
        self._is_open = False
        self._owner.stream_closed(self._why or (f"reset: {exc}" if exc else ""))
        # OpenSSL's part of a connection is 33 KiB behind a handful of objects: too few for the
        # garbage collector to hurry, so no cycle may keep it.
        del self._tls
        self._transport = None

    def pause_writing(self) -> None:
        """Something waits to leave."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Everything has left."""
        self._is_paused = False
        if self._is_open and not self._is_closing:
            self._owner.stream_writable()

    # -- the owner's side ---------------------------------------------------------------

    @property
    def is_writable(self) -> bool:
        """See :class:`~overlay_edge.net.stream.Stream`."""
        return self._is_open and not self._is_paused and not self._is_closing

    def write(self, data: bytes) -> None:
        """See :class:`~overlay_edge.net.stream.Stream`."""
        if self._is_closing or not self._is_open:
            return
        try:
            self._tls.sendall(data)
        except SSL.Error as error:
            self._fail(reason_of(error))
            return
        self._flush()

    def pause_reading(self) -> None:
        """See :class:`~overlay_edge.net.stream.Stream`."""
        # While closing, what comes is read and dropped.
        if self._transport is not None and not self._is_closing and self._transport.is_reading():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See :class:`~overlay_edge.net.stream.Stream`."""
        transport = self._transport
        if transport is not None and not transport.is_closing() and not transport.is_reading():
            transport.resume_reading()

    def close(self) -> None:
        """See :class:`~overlay_edge.net.stream.Stream`."""
        transport = self._transport
        if self._is_closing or transport is None or transport.is_closing():
            return
        if self._is_open:
            with contextlib.suppress(SSL.Error):  # the peer may be beyond telling
                self._tls.shutdown()
            self._flush()
        self._is_closing = True
        self.resume_reading()
        loop = asyncio.get_running_loop()
        self._linger = loop.call_later(LINGER_S, transport.abort)
        try:
            transport.write_eof()
        except OSError:  # the peer is gone, and the loop has not told us yet
            transport.abort()

    def abort(self) -> None:
        """See :class:`~overlay_edge.net.stream.Stream`."""
        self._is_closing = True
        if self._transport is not None:
            self._transport.abort()

    def export_key(self, label: bytes, length: int) -> bytes:
        """Keying material both ends share and nobody else (RFC 8446 section 7.5)."""
        return self._tls.export_keying_material(label, length)

    # -- between ------------------------------------------------------------------------

    def _handshake(self) -> bool:
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            self._flush()
            return False
        except (SSL.Error, TransportError) as error:
            reason = reason_of(error) if isinstance(error, SSL.Error) else str(error)
            self._flush()  # the alert says why
            self._finish_handshake(_label(reason))
            self._fail(f"handshake: {reason}")
            return False
        self._flush()
        if self._tls.get_alpn_proto_negotiated() != ALPN:
            self._finish_handshake("alpn")
            self._fail("handshake: no application protocol")
            return False
        self._is_open = True
        self._finish_handshake("ok")
        self._owner.stream_opened(self, self._info())
        return not self._is_closing

    def _info(self) -> StreamInfo:
        chain = self._chain()
        assert self._transport is not None  # noqa: S101 - a handshake has a transport
        return StreamInfo(
            peer=address_of(self._transport.get_extra_info("peername")),
            group=self._tls.get_group_name() or "",
            cipher=self._tls.get_cipher_name() or "",
            fingerprint=sha256(chain[0]).hexdigest() if chain else "",
            chain=chain,
        )

    def _chain(self) -> tuple[bytes, ...]:
        """What the peer has shown, leaf first; a listener keeps the leaf only."""
        try:
            if self._is_server:
                leaf = self._tls.get_peer_certificate(as_cryptography=True)
                return (leaf.public_bytes(Encoding.DER),) if leaf is not None else ()
            shown = self._tls.get_peer_cert_chain(as_cryptography=True) or []
            return tuple(certificate.public_bytes(Encoding.DER) for certificate in shown)
        except ValueError:  # OpenSSL is content with more than this parser
            return ()

    def _read(self) -> None:
        try:
            while not self._is_closing:
                self._owner.stream_received(self._tls.recv(READ_BYTES))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.close()
        except SSL.Error as error:
            self._fail(reason_of(error))
            return
        if not self._is_closing:
            self._flush()  # an answer to a key update

    def _flush(self) -> None:
        if self._transport is not None and (data := drain(self._tls)):
            self._transport.write(data)

    def _finish_handshake(self, outcome: str) -> None:
        if self._report is not None:
            report, self._report = self._report, None
            report(outcome)

    def _fail(self, reason: str) -> None:
        self._why = reason
        self.close()
