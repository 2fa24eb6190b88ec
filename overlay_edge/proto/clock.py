"""Clock: what time to believe on a board that has no clock of its own.

A board without a battery starts in 1970, or wherever its last shutdown was. Two things are
known better: the program was built before it runs, and what a known key signed had been
signed by then. The later of both is a floor::

    floor - leeway        now is believed, but never below the floor
    below that            the clock is wrong: the floor is the time, until it is set
    10 years above        the clock is wrong, the other way

A wrong clock is a reason for readiness, never for ending.
"""

from datetime import UTC, datetime
from typing import NamedTuple

LEEWAY_S = 120.0  # clocks of two machines that are both set
MAX_AHEAD_S = 10 * 365.25 * 86_400.0  # nobody runs a build that old, or signed nothing since


class Judgement(NamedTuple):
    """The time to judge by, whether the machine's own was believed, and if not, why."""

    now: float
    is_trusted: bool
    reason: str = ""


class ClockFloor:
    """The floor, which only rises.

    Args:
        built: When this program was built, wall seconds; 0 = not known.
        leeway_s: How far below the floor a clock is still believed.
    """

    def __init__(self, built: float = 0.0, leeway_s: float = LEEWAY_S) -> None:
        self.floor = max(built, 0.0)
        self.leeway_s = leeway_s

    def saw(self, signed: float) -> None:
        """Something that a known key signed says it was made then."""
        self.floor = max(self.floor, signed)

    def judge(self, now: float) -> Judgement:
        """Say what time it is when the machine says it is ``now``."""
        if now < self.floor - self.leeway_s:
            late = f"{self.floor - now:.0f} s before the newest signed time seen"
            return Judgement(self.floor, False, f"the clock is {late}: set it")
        if self.floor and now > self.floor + MAX_AHEAD_S:
            return Judgement(self.floor, False, "the clock is over 10 years ahead: set it")
        return Judgement(max(now, self.floor), True)


def built_time(stamp: str) -> float:
    """When a build was made, by its stamp: an ISO date, in UTC unless it says otherwise; else 0."""
    try:
        made = datetime.fromisoformat(stamp)
        return (made if made.tzinfo else made.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0
