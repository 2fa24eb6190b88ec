"""Breaker: when to stop asking a service that does not answer, and when to try it again.

    CLOSED ----DEAD----> OPEN ---COOLED---> HALF_OPEN ---ALIVE---> CLOSED, on probation
                          ^                     |
                          +--------DEAD---------+

CLOSED lets every call through and counts failures in a row. OPEN refuses at once, so that
nobody waits for what will not come. HALF_OPEN lets one probe through. On probation one more
failure is enough, until an answer was seen to its end: a service that begins answers and
never ends them must not look well for ever.

What a call of an earlier state has to tell, proves nothing about this one, and is ignored.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

MAX_COOLDOWN = 32.0  # times the first one: a second becomes half a minute, not an hour


class State(Enum):
    """What happens to a call."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Sign(Enum):
    """What moves a breaker."""

    ALIVE = "alive"  # an answer began
    DEAD = "dead"  # too many failures in a row, or the probe failed
    COOLED = "cooled"  # the wait is over


TRANSITIONS: dict[State, dict[Sign, State]] = {
    State.CLOSED: {
        Sign.ALIVE: State.CLOSED,
        Sign.DEAD: State.OPEN,
        Sign.COOLED: State.CLOSED,
    },
    State.OPEN: {
        Sign.ALIVE: State.OPEN,
        Sign.DEAD: State.OPEN,
        Sign.COOLED: State.HALF_OPEN,
    },
    State.HALF_OPEN: {
        Sign.ALIVE: State.CLOSED,
        Sign.DEAD: State.OPEN,
        Sign.COOLED: State.HALF_OPEN,
    },
}


@dataclass(slots=True, eq=False)
class Call:
    """One call that was let through; end it with ``succeeded``, ``failed`` or ``dropped``."""

    turn: int


class Breaker:
    """Lets calls through to one service, or not.

    Args:
        failures: In a row, until it opens; at least 1.
        cooldown_s: How long it stays open the first time. Doubles each time the probe fails,
            and is drawn from its upper half: a fleet must not come back as one.
    """

    def __init__(self, failures: int, cooldown_s: float) -> None:
        self.state = State.CLOSED
        self.opened_total = 0
        self._limit = failures
        self._cooldown_s = cooldown_s
        self._failures = 0
        self._reopened = 0
        self._turn = 0
        self._until = 0.0
        self._has_probe = False

    def admit(self, *, now: float) -> Call | None:
        """Ask to make a call; None = not now, see :meth:`wait_s`."""
        if self.state is State.OPEN and now >= self._until:
            self._move(Sign.COOLED)
        if self.state is State.OPEN or self._has_probe:
            return None
        self._has_probe = self.state is State.HALF_OPEN
        return Call(self._turn)

    def wait_s(self, *, now: float) -> float:
        """Seconds until a probe may go; 0 unless it is open."""
        return max(0.0, self._until - now) if self.state is State.OPEN else 0.0

    def alive(self, call: Call) -> None:
        """An answer began; how it ends is still to be told."""
        if call.turn != self._turn:
            return
        if self.state is State.HALF_OPEN:
            self._move(Sign.ALIVE)
            self._failures = self._limit - 1
            call.turn = self._turn

    def succeeded(self, call: Call) -> None:
        """The answer was whole."""
        self.alive(call)
        if call.turn == self._turn:
            self._failures = self._reopened = 0

    def failed(self, call: Call, *, now: float, rng: Callable[[], float]) -> None:
        """There was no answer, or it broke off.

        Args:
            call: Which.
            now: Monotonic seconds.
            rng: Numbers from 0 up to 1.
        """
        if call.turn != self._turn:
            return
        self._failures += 1
        if self.state is State.CLOSED and self._failures < self._limit:
            return
        factor = min(2.0**self._reopened, MAX_COOLDOWN)
        self._until = now + self._cooldown_s * factor * (0.5 + rng() / 2)
        self._reopened = min(self._reopened + 1, 16)
        self.opened_total += 1
        self._move(Sign.DEAD)

    def dropped(self, call: Call) -> None:
        """Nobody waits for the answer any more: the call says nothing about the service."""
        if call.turn == self._turn:
            self._has_probe = False

    def _move(self, sign: Sign) -> None:
        state = TRANSITIONS[self.state][sign]
        if state is not self.state:
            self.state = state
            self._turn += 1
            self._has_probe = False
