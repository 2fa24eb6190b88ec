"""Watch: how long a peer may be silent, slow or unfinished, and how busy for nothing."""

from overlay_edge.config import SessionConfig
from overlay_edge.errors import PeerViolation
from overlay_edge.proto.events import Body, Event, Greeted, Notified, Requested, Responded
from overlay_edge.proto.frame import CHUNK_BYTES, END, MAX_FRAME_BYTES, App, Frame
from overlay_edge.proto.quota import TokenBucket

MIN_FRAME_RATE = 16 << 10  # bytes a second a started frame must make (guess: 2G makes more)
MIN_BURST = 256  # frames for nothing that a peer may send at once, whatever its rate
PAUSE_S = 0.05  # who went too far is looked at again after this: waking is work, too
CRUMB_BYTES = 1 << 10  # bulk in smaller pieces is more work for us than it carries
WASTE_BYTES = 16 << 10  # what is thrown away is work by its length, too


class Watch:
    """The clocks of one session, in monotonic seconds.

    Args:
        config: The waits.
        now: When the connection began; the handshake's deadline counts from here.
    """

    def __init__(self, config: SessionConfig, *, now: float) -> None:
        self._config = config
        self._opened = now
        self._heard = now
        self._moved = now
        self._pinged = now
        self._frame_started: float | None = None
        self._frame_bytes = 0

    def heard(self, *, now: float) -> None:
        """Bytes came."""
        self._heard = now

    def moved(self, *, now: float) -> None:
        """The connection took bulk: a peer that only reads is not silent."""
        self._moved = now

    def frame_finished(self) -> None:
        """A frame is whole."""
        self._frame_started = None

    def held_back(self, *, now: float) -> None:
        """We are the ones who do not read: a begun frame is not late for that time."""
        if self._frame_started is not None:
            self._frame_started = now

    def frame_unfinished(self, expected_bytes: int, *, now: float) -> None:
        """Part of a frame is held.

        Args:
            expected_bytes: Its whole length, as far as it is known.
            now: Monotonic seconds; counts from the first part.
        """
        if self._frame_started is None:
            self._frame_started = now
        self._frame_bytes = expected_bytes

    @property
    def hello_at(self) -> float:
        """HELLO must be done, TLS included."""
        return self._opened + self._config.handshake_timeout_s

    @property
    def idle_at(self) -> float:
        """Silence has lasted too long."""
        return max(self._heard, self._moved) + self._config.idle_timeout_s

    @property
    def keepalive_at(self) -> float:
        """The dialling side pings, so that the other hears something: three times an idle wait."""
        return max(self._heard, self._pinged) + self._config.idle_timeout_s / 3

    @property
    def frame_at(self) -> float | None:
        """A begun frame must be whole: the read timeout, plus its length at the slowest rate."""
        if self._frame_started is None:
            return None
        return (
            self._frame_started + self._config.read_timeout_s + self._frame_bytes / MIN_FRAME_RATE
        )

    def deadline(self, *, pings: bool, reads: bool) -> float:
        """When to look again, once HELLO is done.

        Args:
            pings: This side keeps the session alive.
            reads: The peer may send: only then can it be late with a frame.
        """
        times = [self.idle_at]
        if pings:
            times.append(self.keepalive_at)
        if reads and self.frame_at is not None:
            times.append(self.frame_at)
        return min(times)

    def check_hello(self, *, now: float) -> None:
        """Raise a violation when HELLO should have been done."""
        if now >= self.hello_at:
            raise overdue("no HELLO within the handshake timeout")

    def check(self, *, pings: bool, reads: bool, now: float) -> bool:
        """Say whether a ping is due now, and count it as sent.

        Raises:
            PeerViolation: The peer was silent or slow for too long.
        """
        if now >= self.idle_at:
            raise overdue("silence for the idle timeout")
        if reads and self.frame_at is not None and now >= self.frame_at:
            raise overdue("a frame was begun and not finished")
        if not pings or now < self.keepalive_at:
            return False
        self._pinged = now
        return True


class Patience:
    """How much of a peer is taken that no limit on requests covers.

    A ping, a refusal and a crumb of bulk cost us as much as a request: a peer that sends
    nothing else would have the event loop for itself. What comes too fast is not refused; it
    waits, and the peer with it, while all others are served.

    Args:
        rate_per_s: Frames a second that come to nothing.
        now: Monotonic seconds.

    Attributes:
        until: Take no more before then; None = go on.
    """

    def __init__(self, rate_per_s: float, *, now: float) -> None:
        self.until: float | None = None
        self._bucket = TokenBucket(rate_per_s, max(rate_per_s, MIN_BURST), now=now)
        self._pause = PAUSE_S * rate_per_s
        self._gossip: TokenBucket | None = None

    def expect_gossip(self, rate_per_s: float, *, now: float) -> None:
        """Take so many frames of gossip a second: it is what a node of the mesh is there for.

        They have a bucket of their own. It is far wider than what the mesh lets a peer do: who
        goes beyond that must be seen there, to be held against it.
        """
        self._gossip = TokenBucket(rate_per_s, rate_per_s, now=now)

    @property
    def is_spent(self) -> bool:
        """Nobody has found yet that it is back."""
        return self.until is not None

    def is_out(self, *, now: float) -> bool:
        """Take no more now."""
        if self.until is not None and now >= self.until:
            self.until = None
        return self.is_spent

    def took(self, frame: Frame, event: Event | None, *, now: float) -> None:
        """Count what a frame cost.

        Args:
            frame: What came.
            event: What it came to; None = it was refused, thrown away, or answered at once.
            now: Monotonic seconds.
        """
        match event:
            case Requested() | Greeted():
                # The rate of requests and the handshake's limits count them. A head beyond a
                # chunk is bulk that knows no credit, and everybody waits while it is read.
                if len(frame.payload) > CHUNK_BYTES:
                    self._spend(len(frame.payload) / WASTE_BYTES, now)
            case Body() | Responded():
                if len(frame.payload) < CRUMB_BYTES and not frame.flags & END:
                    self._spend(1.0, now)
            case Notified(App.GOSSIP) if self._gossip is not None:
                self._gossip.spend(1.0, now=now)
                if self._gossip.wait_s(0.0):
                    self.until = now + PAUSE_S
            case _:
                self._spend(1.0 + len(frame.payload) / WASTE_BYTES, now)

    def skipped(self, *, now: float) -> None:
        """Count a frame there was no room for."""
        self._spend(MAX_FRAME_BYTES / WASTE_BYTES, now)

    def earned(self, *, now: float) -> None:
        """The frame that is being taken moves bulk: it is free."""
        self._bucket.spend(-1.0, now=now)

    def _spend(self, amount: float, now: float) -> None:
        self._bucket.spend(amount, now=now)
        if self._bucket.wait_s(0.0):
            self.until = now + self._bucket.wait_s(min(self._pause, MIN_BURST))


def overdue(message: str) -> PeerViolation:
    """The violation of a peer that took too long."""
    return PeerViolation("Timeout", message, code=408, token="timeout")
