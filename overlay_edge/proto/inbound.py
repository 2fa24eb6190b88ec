"""Inbound: the requests a peer has open with us.

A request lives from its START to the last frame of its answer, whichever of its two halves
ends later::

    START --admitted--> open --END--> whole --last answer frame taken--> over
      |                   |             |
      +----- refused -----+-------------+--> over; bytes still arriving are thrown away
"""

from collections.abc import Callable
from dataclasses import dataclass

from overlay_edge.config import SessionConfig
from overlay_edge.errors import PeerViolation, Refused
from overlay_edge.proto.compression import inflate
from overlay_edge.proto.events import Abandoned, Answered, Body, Event, Requested
from overlay_edge.proto.flow import Outbox, Sender, Window
from overlay_edge.proto.frame import CHUNK_BYTES, END, START, Frame, Skipped
from overlay_edge.proto.message import as_refused, error_frame
from overlay_edge.proto.quota import TokenBucket

MAX_DISCARDING = 256  # refused uploads still arriving; a correct peer ends them in a window
BUSY_RETRY_MS = 100  # guess: one request's time, after which an open one has likely finished


def admit_all(_: Frame) -> Refused | None:
    """The gate of a side that serves nobody else: every request fits."""
    return None


def ignore(_: Answered) -> None:
    """Nobody wants to know when a request is over."""


@dataclass(slots=True, eq=False)
class Request:
    """One request of the peer's.

    Attributes:
        started: When START came, monotonic seconds.
        progressed: When its last frame came, or when we let go of the last byte we held.
        answered: When its answer last moved, or was given credit.
        window: Its bulk: granted, received, consumed.
        is_admitted: It got past the limits, and counts in the node's total.
        is_whole: Its END has come.
        sender: Its answer, once there is one.
    """

    corr_id: int
    app: int
    tenant: int
    started: float
    progressed: float
    window: Window
    answered: float = 0.0
    is_admitted: bool = False
    is_whole: bool = False
    sender: Sender | None = None

    @property
    def is_stalling(self) -> bool:
        """It is the peer's turn: more is to come, and we hold none of it back."""
        return not self.is_whole and not self.window.held


class Inbound:
    """The peer's open requests, their limits and their endings.

    Args:
        config: Limits and waits.
        outbox: Where refusals go.
        admit: Asks the node whether a START may open a request; None = yes, and it is counted.
        on_answered: Told once when a request is over.
        now: Monotonic seconds.

    Attributes:
        now: The owner's last word on the time: when what is consumed was consumed.
    """

    def __init__(
        self,
        config: SessionConfig,
        outbox: Outbox,
        admit: Callable[[Frame], Refused | None],
        on_answered: Callable[[Answered], None],
        *,
        now: float,
    ) -> None:
        self.now = now
        self._config = config
        self._outbox = outbox
        self._admit = admit
        self._on_answered = on_answered
        self._bucket = TokenBucket(config.max_rps, config.max_rps, now=now)
        self._open: dict[int, Request] = {}
        self._discarding: set[int] = set()

    def __len__(self) -> int:
        return len(self._open)

    def get(self, corr_id: int) -> Request | None:
        """The open request of that number."""
        return self._open.get(corr_id)

    @property
    def held(self) -> int:
        """Bytes of bulk that came and are not consumed yet."""
        return sum(request.window.held for request in self._open.values())

    def receive(
        self, frame: Frame, window_bytes: int, *, is_leaving: bool, now: float
    ) -> Event | None:
        """Take a REQ frame.

        Raises:
            PeerViolation: The link must end.
        """
        corr_id, is_last = frame.corr_id, bool(frame.flags & END)
        request = self._open.get(corr_id)
        if frame.flags & START:
            self._reserve(frame)
            return self._start(frame, window_bytes, is_leaving, now)
        if corr_id in self._discarding:
            if is_last:
                self._discarding.discard(corr_id)
            return None
        if request is None or request.is_whole:
            raise PeerViolation("NoSuchRequest", f"request {corr_id} is not open")
        return self._continue(request, frame, now)

    def skip(self, frame: Skipped, *, now: float) -> Event | None:
        """Refuse what a frame belongs to that was thrown away.

        Raises:
            PeerViolation: The link must end.
        """
        refusal = Refused(503, "busy", frame.why, retry_after_ms=BUSY_RETRY_MS)
        is_last = bool(frame.flags & END)
        request = self._open.get(frame.corr_id)
        if request is not None and not frame.flags & START and not request.is_whole:
            request.is_whole = is_last
            return self.abandon(request, refusal, now=now)
        bare = Frame(frame.flags, app=frame.app, tenant=frame.tenant, corr_id=frame.corr_id)
        if not frame.flags & START:
            return self.receive(bare, 0, is_leaving=False, now=now)  # discarding, or a violation
        self._reserve(bare)
        request = Request(frame.corr_id, frame.app, frame.tenant, now, now, Window(0))
        request.is_whole = is_last
        self._open[frame.corr_id] = request
        self.refuse(request, refusal, now=now)
        return None

    def _reserve(self, frame: Frame) -> None:
        if frame.corr_id in self._open or frame.corr_id in self._discarding:
            raise PeerViolation("DuplicateRequest", f"request {frame.corr_id} is already open")

    def _start(
        self, frame: Frame, window_bytes: int, is_leaving: bool, now: float
    ) -> Requested | None:
        request = Request(frame.corr_id, frame.app, frame.tenant, now, now, Window(window_bytes))
        request.is_whole = bool(frame.flags & END)
        try:
            self._judge(frame, is_leaving, now)
            request.is_admitted = True
            payload = inflate(frame)
        except (Refused, PeerViolation) as refusal:
            self._open[frame.corr_id] = request
            self.refuse(request, as_refused(refusal), now=now)
            return None
        self._open[frame.corr_id] = request
        return Requested(
            frame.corr_id, frame.app, frame.tenant, frame.cap, payload, request.is_whole
        )

    def _judge(self, frame: Frame, is_leaving: bool, now: float) -> None:
        if is_leaving:
            raise Refused(503, "draining", "this edge takes no new requests", retry_after_ms=1000)
        if len(self._open) >= self._config.inflight_frames:
            raise Refused(
                429,
                "quota_exhausted",
                f"{len(self._open)} requests open, limit {self._config.inflight_frames}",
                retry_after_ms=BUSY_RETRY_MS,
            )
        if not self._bucket.take(now=now):
            raise Refused(
                429,
                "quota_exhausted",
                f"more than {self._config.max_rps} requests a second",
                retry_after_ms=1 + int(1000 * self._bucket.wait_s()),
            )
        refusal = self._admit(frame)
        if refusal is not None:
            raise refusal

    def _continue(self, request: Request, frame: Frame, now: float) -> Event:
        request.is_whole = bool(frame.flags & END)
        request.progressed = now
        try:
            data = inflate(frame)
        except PeerViolation as violation:
            return self.abandon(request, as_refused(violation), now=now)
        count_bulk(request.window, data)
        return Body(frame.corr_id, data, request.is_whole)

    def consume(self, request: Request, amount: int) -> int | None:
        """Count bytes of a request that were used up; return a new grant when one is due."""
        grant = request.window.consume(amount)
        if request.is_stalling:
            # It is the peer's turn again, maybe long after its last frame: we held it back.
            request.progressed = self.now
        return grant

    def credited(self, request: Request) -> None:
        """The peer lets the answer go on."""
        request.answered = self.now

    def stalled_at(self, *, reads: bool) -> float | None:
        """When the first request will have stalled.

        Args:
            reads: The peer may send: only then can it be late with an upload.
        """
        times = [due for r in self._open.values() if (due := self._due(r, reads)) is not None]
        return min(times, default=None)

    def abandon_stalled(self, *, reads: bool, now: float) -> list[Abandoned]:
        """Refuse every request that the peer has not gone on with, or not gone on taking."""
        due = [(self._due(request, reads), request) for request in self._open.values()]
        refusal = Refused(408, "timeout", "the request or its answer was begun and not finished")
        return [
            self.abandon(request, refusal, now=now)
            for at, request in due
            if at is not None and at <= now
        ]

    def _due(self, request: Request, reads: bool) -> float | None:
        if reads and request.is_stalling:
            return request.progressed + self._config.read_timeout_s
        sender = request.sender
        if sender is not None and sender.is_out_of_credit:
            # An answer nobody takes holds a place that others wait for.
            return max(request.progressed, request.answered) + self._config.idle_timeout_s
        return None

    def abandon(self, request: Request, refusal: Refused, *, now: float) -> Abandoned:
        """Refuse a request the owner knows of; the event tells it."""
        self.refuse(request, refusal, now=now)
        return Abandoned(request.corr_id, refusal.token)

    def refuse(self, request: Request, refusal: Refused, *, now: float) -> None:
        """Answer with an error; bytes still arriving are thrown away."""
        if request.sender is not None:
            self._outbox.remove(request.sender)
        self._outbox.push_control(
            error_frame(refusal, app=request.app, tenant=request.tenant, corr_id=request.corr_id)
        )
        self.end(request, refusal.code, refusal.token, now=now)

    def end(self, request: Request, code: int, token: str, *, now: float) -> None:
        """The answer's last frame has left."""
        del self._open[request.corr_id]
        if not request.is_whole:
            self._discarding.add(request.corr_id)
        self._on_answered(
            Answered(
                request.corr_id,
                request.app,
                code,
                token,
                now - request.started,
                request.is_admitted,
            )
        )

    def check(self) -> None:
        """Refuse a peer that leaves refused uploads open for ever.

        Raises:
            PeerViolation: The link must end.
        """
        if len(self._discarding) > MAX_DISCARDING:
            raise PeerViolation(
                "RefusedUploads",
                f"{len(self._discarding)} refused requests were never ended",
                code=429,
                token="quota_exhausted",
            )

    def close(self, *, now: float) -> None:
        """The link is gone, and every request with it."""
        for request in list(self._open.values()):
            self.end(request, 0, "link_lost", now=now)
        self._discarding.clear()


def count_bulk(window: Window, data: bytes) -> None:
    """Count bytes of bulk against their window.

    Raises:
        PeerViolation: More than was granted, or more than a chunk in one frame.
    """
    if not window.is_unlimited and len(data) > CHUNK_BYTES:
        raise PeerViolation(
            "ChunkTooLarge", f"{len(data)} bytes of bulk in a frame, limit {CHUNK_BYTES}"
        )
    window.receive(len(data))
