"""Link: one connection, where a stream of bytes and a session of meaning meet.

    Stream --bytes--> Link --bytes--> Session --events--> LinkOwner
    Stream <--bytes-- Link <--bytes-- Session <--verbs--- LinkOwner

One batch, at most a chunk of bulk, is written per turn of the event loop: many links share
the loop fairly, and control frames never wait behind more.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from overlay_edge.errors import Refused, TransportError
from overlay_edge.host.clock import monotonic
from overlay_edge.net.stream import Stream, StreamInfo
from overlay_edge.proto.events import Event, LinkFailed
from overlay_edge.proto.flow import SMALL_BATCH_BYTES
from overlay_edge.proto.frame import CHUNK_BYTES
from overlay_edge.proto.pool import Pool, Share
from overlay_edge.proto.session import Session

# The most one write holds: small answers, one chunk, and the records around them.
WRITE_BYTES = SMALL_BATCH_BYTES + CHUNK_BYTES + (4 << 10)


class LinkOwner(Protocol):
    """Who a link reports to."""

    def link_event(self, link: "Link", event: Event) -> None:
        """The peer said something; the last event may be a ``LinkFailed``."""
        ...  # pragma: no cover

    def link_closed(self, link: "Link", reason: str) -> None:
        """The link is gone; called exactly once, also when the handshake never finished."""
        ...  # pragma: no cover


class Link:
    """Pumps bytes both ways and wakes the session in time.

    Args:
        owner: Who is told.
        make_session: Builds the session when the stream is up: only then is it known what
            was negotiated. None = this peer is not wanted, and the link ends before a frame
            is sent.
        handshake_timeout_s: TLS and HELLO together must be done in this time.
        write_timeout_s: A write that makes no progress for this long ends the link.
        pool: What all links share; a chunk is drawn from it while the connection has not
            taken it. None = this link shares with nobody.
    """

    def __init__(
        self,
        owner: LinkOwner,
        make_session: Callable[["Link", StreamInfo], Session | None],
        *,
        handshake_timeout_s: float,
        write_timeout_s: float,
        pool: Pool | None = None,
    ) -> None:
        self.share = Share(pool or Pool(WRITE_BYTES))
        self.info: StreamInfo | None = None
        self.session: Session | None = None
        self.started = monotonic()
        self.bytes_received = 0
        self.bytes_sent = 0
        self._owner = owner
        self._make_session = make_session
        self._handshake_timeout_s = handshake_timeout_s
        self._write_timeout_s = write_timeout_s
        self._loop = asyncio.get_running_loop()
        self._stream: Stream | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._turn: asyncio.Handle | None = None
        self._blocked_since: float | None = None
        self._drawn = 0
        self._reason = ""
        self._is_closed = False

    def attach(self, stream: Stream) -> None:
        """Take the stream this link is for, before its handshake."""
        self._stream = stream
        self._arm()

    # -- the stream's side --------------------------------------------------------------

    def stream_opened(self, stream: Stream, info: StreamInfo) -> None:
        """TLS is up."""
        self._stream = stream
        self.info = info
        self.session = self._make_session(self, info)
        if self.session is None:
            self.abort("peer not wanted")
        self.pump()

    def stream_received(self, data: bytes) -> None:
        """Bytes came."""
        if self.session is not None and not self._is_closed:
            self.bytes_received += len(data)
            self._handle(self.session.receive(data, now=monotonic()))
            self.pump()

    def stream_writable(self) -> None:
        """What was written has left."""
        self._blocked_since = None
        self._give_back()
        self.pump()

    def stream_closed(self, reason: str) -> None:
        """The connection is gone."""
        if self._is_closed:
            return
        self._is_closed = True
        for handle in (self._timer, self._turn):
            if handle is not None:
                handle.cancel()
        if self.session is not None:
            self.session.close(now=monotonic())
        self._drawn = 0
        self.share.pool.leave(self.pump)
        self.share.close()
        self._owner.link_closed(self, self._reason or reason)
        # No cycle may keep what OpenSSL holds for this link.
        self._stream = self.session = self._timer = self._turn = None

    # -- the owner's side ---------------------------------------------------------------

    def pump(self) -> None:
        """Write what may be written; call after any verb on the session."""
        session, stream = self.session, self._stream
        if self._is_closed or session is None or stream is None:
            return
        now = monotonic()
        if session.has_output and stream.is_writable:
            has_room = self._has_room()
            data, found = session.take_output(bulk=has_room, now=now)
            self._write(data)
            if has_room and stream.is_writable:
                self._give_back()
            self._handle(found)
            # Answers have left, so frames that waited may be looked at.
            self._handle(session.receive(b"", now=now))
            if data and self._turn is None:
                self._turn = self._loop.call_soon(self._next_turn)
        if session.has_output and not stream.is_writable:
            self._blocked_since = self._blocked_since or now
        if session.wants_input:
            stream.resume_reading()
        else:
            stream.pause_reading()
        self._arm()

    def export_key(self, label: bytes, length: int) -> bytes:
        """Keying material of this link's TLS, the same on both ends.

        Raises:
            TransportError: There is no connection.
        """
        if self._stream is None:
            raise TransportError("not connected")
        return self._stream.export_key(label, length)

    def drop_input(self, refusal: Refused) -> None:
        """Overwrite what is half here; if that cannot be done alone, end the link."""
        if self.session is not None:
            found = self.session.drop_input(str(refusal), now=monotonic())
            if found is None:
                self.refuse(refusal)
            else:
                self._handle(found)
                self.pump()

    def refuse(self, refusal: Refused) -> None:
        """End the link now: the peer is told why, and nothing of what it sent is kept."""
        if self.session is not None:
            self.session.close(now=monotonic(), refusal=refusal)
            data, _ = self.session.take_output(now=monotonic())
            self._write(data)
        self.close(refusal.token)

    def close(self, reason: str = "") -> None:
        """End the link after what is already written; the peer is told why beforehand."""
        self._reason = self._reason or reason
        if self._stream is not None:
            self._stream.close()

    def abort(self, reason: str = "") -> None:
        """End the link at once."""
        self._reason = self._reason or reason
        if self._stream is not None:
            self._stream.abort()

    # -- between ------------------------------------------------------------------------

    def _has_room(self) -> bool:
        """Draw a batch's worth of the pool, or wait in line for it."""
        if not self._drawn and self.share.take(WRITE_BYTES):
            self._drawn = WRITE_BYTES
            self.share.pool.leave(self.pump)
        if not self._drawn:
            self.share.pool.wait(self.pump)
        return bool(self._drawn)

    def _give_back(self) -> None:
        drawn, self._drawn = self._drawn, 0
        if drawn:
            self.share.give(drawn)

    def _write(self, data: bytes) -> None:
        if data and self._stream is not None:
            self.bytes_sent += len(data)
            self._stream.write(data)

    def _next_turn(self) -> None:
        self._turn = None
        self.pump()

    def _handle(self, found: list[Event]) -> None:
        for event in found:
            self._owner.link_event(self, event)
            if isinstance(event, LinkFailed):
                self._end(event)

    def _end(self, failure: LinkFailed) -> None:
        self._reason = self._reason or failure.token
        if self.session is not None and self._stream is not None:
            data, _ = self.session.take_output(now=monotonic())
            self._write(data)
            self._stream.close()

    def _arm(self) -> None:
        """Set the timer, unless it will ring early enough anyway."""
        due = self._due()
        if due is None:
            return
        if self._timer is not None:
            if self._timer.when() <= due and not self._timer.cancelled():
                return
            self._timer.cancel()
        # The loop's clock is the monotonic one, so deadlines need no translation.
        self._timer = self._loop.call_at(due, self._ring)

    def _due(self) -> float | None:
        if self.session is None:
            return self.started + self._handshake_timeout_s
        times = [self.session.deadline()]
        if self._blocked_since is not None:
            times.append(self._blocked_since + self._write_timeout_s)
        return min((time for time in times if time is not None), default=None)

    def _ring(self) -> None:
        self._timer = None
        now = monotonic()
        if self.session is None:
            if now >= self.started + self._handshake_timeout_s:
                self.abort("handshake timeout")
                return
        else:
            blocked = self._blocked_since
            if blocked is not None and now >= blocked + self._write_timeout_s:
                self.abort("write timeout")
                return
            self._handle(self.session.wake(now=now))
            self.pump()
        self._arm()
