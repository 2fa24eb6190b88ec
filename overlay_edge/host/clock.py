"""What time it is: the only place that asks. Everyone else takes ``now`` as an argument."""

import time


def monotonic() -> float:
    """Seconds since some start, never backwards: for deadlines and ages."""
    return time.monotonic()


def wall() -> float:
    """Seconds since 1970 as the machine believes: for log lines only, a board may be wrong."""
    return time.time()  # noqa: TID251 - this is the clock others are sent to
