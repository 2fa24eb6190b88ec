"""Flow: who may send how much, and in which order (``oap1.md`` section 4).

Credit is absolute: a grant says how many bytes of a stream are allowed in all, so a grant
that arrives twice does no harm. The START frame of a stream is its head and is bounded by
the frame itself; what follows is bulk, and bulk is what credit counts.

Bulk is never queued. A stream that has something to send holds a :class:`Source`, and bytes
are read from it when the connection can take them: a peer that does not read costs nothing.

    control lane   credit, ping, goaway, refusals      first, always
    data lane      deficit round robin: a chunk's worth of each open stream in turn, however
                   small its frames (Shreedhar and Varghese, 1995); events for applications
                   take their turn like one stream
"""

from collections import deque
from typing import Protocol

from overlay_edge.errors import EdgeError, LocalMisuse, PeerViolation
from overlay_edge.proto.frame import CHUNK_BYTES, END, HEADER_BYTES, START, Frame, encode
from overlay_edge.proto.lane import EventLane

# Frames are decoded only while the control lane is shorter than this, so it can hold no more
# than this, one refusal of each open request, and a grant of each open stream.
CROWDED_FRAMES = 32
CROWDED_BYTES = 16 << 10  # a quarter of a chunk: the lane itself never delays like bulk
UNLIMITED = 1 << 62  # more than any stream; an exact integer everywhere
MIN_READ_BYTES = 4 << 10  # what is left of a turn below this is not worth a frame
SMALL_BATCH_BYTES = 16 << 10  # answers that may ride before one chunk in the same write


class Source(Protocol):
    """Where the bulk of a stream comes from."""

    def read(self, limit: int) -> tuple[bytes, bool] | None:
        """Return up to ``limit`` bytes and whether they are the last; None = nothing yet.

        Raises:
            EdgeError: The bytes cannot be had; the stream ends with a refusal.
        """
        ...  # pragma: no cover

    def close(self) -> None:
        """The stream has ended, well or not; called once."""
        ...  # pragma: no cover


class Window:
    """What we let the other side send on one stream.

    Args:
        window_bytes: How far ahead of our consumption it may be; UNLIMITED for a peer that
            knows no credit, where only reading from the connection or not slows it down.
    """

    def __init__(self, window_bytes: int) -> None:
        self._window_bytes = window_bytes
        self._granted = window_bytes
        self._received = 0
        self._consumed = 0

    @property
    def is_unlimited(self) -> bool:
        """The peer knows no credit."""
        return self._window_bytes >= UNLIMITED

    @property
    def held(self) -> int:
        """Bytes received and not yet consumed."""
        return self._received - self._consumed

    def receive(self, amount: int) -> None:
        """Count bytes that came.

        Raises:
            PeerViolation: More than was granted.
        """
        self._received += amount
        if self._received > self._granted:
            raise PeerViolation(
                "CreditViolation",
                f"{self._received} bytes on a stream, credit {self._granted}",
                token="credit_violation",
            )

    def consume(self, amount: int) -> int | None:
        """Count bytes that were used up; return a new grant when half a window is free."""
        if amount > self.held:
            raise LocalMisuse(f"{amount} bytes consumed, {self.held} held")
        self._consumed += amount
        ceiling = self._consumed + self._window_bytes
        if ceiling - self._granted < self._window_bytes // 2:
            return None
        self._granted = ceiling
        return ceiling


class Allowance:
    """What the other side lets us send on one stream.

    Args:
        window_bytes: The first grant; UNLIMITED for a peer that knows no credit, where only
            the connection itself slows us down.
    """

    def __init__(self, window_bytes: int) -> None:
        self._limit = window_bytes
        self._sent = 0

    @property
    def left(self) -> int:
        """Bytes that may be sent now."""
        return self._limit - self._sent

    def grant(self, limit: int) -> int:
        """Raise the limit and return by how much; an old or repeated grant changes nothing."""
        raised = max(0, limit - self._limit)
        self._limit += raised
        return raised

    def spend(self, amount: int) -> None:
        """Count bytes sent, never more than ``left``."""
        if amount > self.left:
            raise LocalMisuse(f"{amount} bytes sent, {self.left} allowed")
        self._sent += amount


class Sender:
    """One stream we send: a head frame, then bulk from a source.

    Args:
        head: Sent first, with START; its END says that nothing follows.
        source: Bulk, or None when the head is all.
        bulk: Flags and code of the frames that follow, without END.
        allowance: The peer's credit for the bulk.
    """

    def __init__(
        self, head: Frame, source: Source | None, bulk: Frame, allowance: Allowance
    ) -> None:
        self.head: Frame | None = head
        self.bulk = bulk
        self.allowance = allowance
        self.is_done = False
        self.deficit = 0
        self._source = source

    @property
    def is_out_of_credit(self) -> bool:
        """It is the peer's turn: there is more, and the peer must allow it."""
        return self.head is None and not self.is_done and self.allowance.left <= 0

    def next_frame(self) -> Frame | None:
        """Return the next frame, or None while credit or bytes are missing.

        Raises:
            EdgeError: The source failed; the sender is closed.
        """
        if self.head is not None:
            head, self.head = self.head, None
            if self._source is None:
                self.is_done = True
            return head
        assert self._source is not None  # noqa: S101 - a head without source ends the sender
        limit = min(CHUNK_BYTES, self.allowance.left, self.deficit)
        if limit <= 0:
            return None
        try:
            taken = self._source.read(limit)
            if taken is None:
                return None
            data, last = taken
            self.allowance.spend(len(data))
        except EdgeError:
            self.close()
            raise
        if last:
            self.close()
        return Frame(
            flags=self.bulk.flags | (END if last else 0),
            code=self.bulk.code,
            app=self.bulk.app,
            tenant=self.bulk.tenant,
            corr_id=self.bulk.corr_id,
            payload=data,
        )

    def close(self) -> None:
        """End the stream and let go of its source."""
        self.is_done = True
        if self._source is not None:
            source, self._source = self._source, None
            source.close()


class Outbox:
    """What waits to be written: a control lane, and open streams and the events in turn.

    Attributes:
        events: Events for the peer's applications.
    """

    def __init__(self) -> None:
        self.events = EventLane()
        self._control: deque[bytes] = deque()
        self._control_bytes = 0
        self._ready: deque[Sender | EventLane] = deque()
        self._parked: set[Sender | EventLane] = {self.events}

    @property
    def is_crowded(self) -> bool:
        """Answers wait unread: take in no more that could need one."""
        return len(self._control) >= CROWDED_FRAMES or self._control_bytes >= CROWDED_BYTES

    @property
    def has_output(self) -> bool:
        """Something could be taken now, unless every stream turns out to be waiting."""
        return bool(self._control or self._ready)

    def push_control(self, frame: Frame) -> None:
        """Queue a control frame, ahead of all bulk."""
        data = encode(frame)
        self._control_bytes += len(data)
        self._control.append(data)

    def add(self, sender: Sender) -> None:
        """Open a stream."""
        self._ready.append(sender)

    def resume(self, sender: Sender | EventLane) -> None:
        """A waiting stream may go on: credit or bytes came."""
        if sender in self._parked:
            self._parked.remove(sender)
            self._ready.append(sender)

    def remove(self, sender: Sender) -> None:
        """Close a stream and forget it."""
        sender.close()
        self._parked.discard(sender)
        if sender in self._ready:
            self._ready.remove(sender)

    def take_control(self) -> list[bytes]:
        """Take everything of the control lane."""
        taken = list(self._control)
        self._control.clear()
        self._control_bytes = 0
        return taken

    def next_sender(self) -> Sender | EventLane | None:
        """Whose turn it is; give it back with :meth:`put_back` or :meth:`park`."""
        if not self._ready:
            return None
        sender = self._ready.popleft()
        if sender.deficit <= 0:
            sender.deficit += CHUNK_BYTES
        return sender

    def put_back(self, sender: Sender | EventLane, sent: int) -> None:
        """The stream has more: it goes on with its turn, or to the end of the line.

        Args:
            sender: Whose turn it was.
            sent: Bytes of bulk; 0 for a head, which is a turn of its own.
        """
        sender.deficit -= sent
        if sent and sender.deficit >= MIN_READ_BYTES:
            self._ready.appendleft(sender)
        else:
            sender.deficit = min(sender.deficit, 0)
            self._ready.append(sender)

    def park(self, sender: Sender | EventLane) -> None:
        """The stream waits for credit or bytes, and its turn is over."""
        sender.deficit = 0
        self._parked.add(sender)

    def close(self) -> None:
        """Close every stream; what is in the control lane stays to be written."""
        self.events.drop(0)
        for sender in (*self._ready, *self._parked):
            if isinstance(sender, Sender):
                sender.close()
        self._ready.clear()
        self._parked.clear()


def bulk_of(head: Frame, code: int) -> Frame:
    """The frame that the bulk behind a head looks like: no START, no capability."""
    return Frame(
        flags=head.flags & ~(START | END),
        code=code,
        app=head.app,
        tenant=head.tenant,
        corr_id=head.corr_id,
    )


def frame_bytes(frame: Frame) -> int:
    """Length of a frame on the wire."""
    return HEADER_BYTES + len(frame.cap) + len(frame.payload)
