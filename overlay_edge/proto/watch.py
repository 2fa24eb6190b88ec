"""Watch: how long a peer may be silent, slow or unfinished."""

from overlay_edge.config import SessionConfig
from overlay_edge.errors import PeerViolation

MIN_FRAME_RATE = 16 << 10  # bytes a second a started frame must make (guess: 2G makes more)


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


def overdue(message: str) -> PeerViolation:
    """The violation of a peer that took too long."""
    return PeerViolation("Timeout", message, code=408, token="timeout")
