"""Retry: what a failed call means, and is it worth another.

``RULES`` has one line for each way a call can end. Three things must agree before a call is
made again: its rule, the attempts and the time that are left, and the retry budget. The
budget is what keeps a service that is slow from being buried: over any time, retries are at
most a tenth of the calls, however many callers there are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

BUDGET_RATIO = 0.1  # retries per call; the usual figure for services behind services
BUDGET_BURST = 10.0  # retries at once after a quiet time
BASE_S = 0.05  # guess: a restarted service is back in a few of these
MAX_WAIT_S = 2.0


class Outcome(Enum):
    """How a call ended."""

    ANSWERED = "answered"
    MISSING = "missing"  # 404: it answers, and has nothing
    REFUSED = "refused"  # any other 4xx: asking again changes nothing
    TOO_LARGE = "too_large"  # more than we take
    LIED = "lied"  # other bytes, another length, a redirect, no sense
    BUSY = "busy"  # 429 or 503: it asks for patience
    BROKEN = "broken"  # any other 5xx
    TIMEOUT = "timeout"
    CUT = "cut"  # the connection broke while it was used
    UNREACHABLE = "unreachable"  # no connection: nothing was sent
    OPEN = "open"  # the breaker let nothing through


class Again(Enum):
    """When a call may be made again."""

    NEVER = "never"
    IF_SAFE = "if_safe"  # if doing it twice does no harm
    ALWAYS = "always"  # it was not done once


@dataclass(frozen=True, slots=True)
class Rule:
    """What an outcome means.

    Attributes:
        is_failure: It counts against the service. What is wrong with one object does not:
            asking for it often enough would close the service for all others.
        again: When to ask again.
        code: Status a peer is told, ``oap1.md`` section 6.
        token: Its token.
    """

    is_failure: bool
    again: Again
    code: int
    token: str


RULES: dict[Outcome, Rule] = {
    Outcome.ANSWERED: Rule(False, Again.NEVER, 200, ""),
    Outcome.MISSING: Rule(False, Again.NEVER, 404, "not_found"),
    Outcome.REFUSED: Rule(False, Again.NEVER, 500, "internal"),
    Outcome.TOO_LARGE: Rule(False, Again.NEVER, 413, "too_large"),
    Outcome.LIED: Rule(False, Again.NEVER, 500, "internal"),
    Outcome.BUSY: Rule(True, Again.ALWAYS, 503, "busy"),
    Outcome.BROKEN: Rule(True, Again.IF_SAFE, 503, "busy"),
    Outcome.TIMEOUT: Rule(True, Again.IF_SAFE, 504, "downstream_timeout"),
    Outcome.CUT: Rule(True, Again.IF_SAFE, 503, "busy"),
    Outcome.UNREACHABLE: Rule(True, Again.ALWAYS, 503, "busy"),
    Outcome.OPEN: Rule(False, Again.NEVER, 503, "busy"),
}


class RetryBudget:
    """Retries that are left: every call adds a part of one.

    Args:
        ratio: Part of a retry that a call adds.
        burst: Retries held at most; it starts with all of them.
    """

    def __init__(self, ratio: float = BUDGET_RATIO, burst: float = BUDGET_BURST) -> None:
        self.denied_total = 0
        self._ratio = ratio
        self._burst = burst
        self._left = burst

    def called(self) -> None:
        """A call was made for the first time."""
        self._left = min(self._burst, self._left + self._ratio)

    def take(self) -> bool:
        """Spend one retry if there is one."""
        if self._left < 1:
            self.denied_total += 1
            return False
        self._left -= 1
        return True


def wait_before(
    outcome: Outcome,
    attempt: int,
    *,
    most: int,
    is_safe: bool,
    asked_s: float,
    left_s: float,
    rng: Callable[[], float],
) -> float | None:
    """Seconds to wait before the next attempt, or None when this was the last.

    Args:
        outcome: Of the attempt just made.
        attempt: Its number, from 0.
        most: Retries at most.
        is_safe: Doing it twice does no harm.
        asked_s: What the service asked for, 0 if nothing.
        left_s: Until nobody waits any more.
        rng: Numbers from 0 up to 1; all of the wait is drawn, so that callers spread out.
    """
    again = RULES[outcome].again
    if attempt >= most or again is Again.NEVER or (again is Again.IF_SAFE and not is_safe):
        return None
    wait_s = asked_s + rng() * min(MAX_WAIT_S, BASE_S * 2.0 ** min(attempt, 16))
    return wait_s if wait_s < left_s else None
