"""Rates: a token bucket that is told the time."""


class TokenBucket:
    """Allows ``rate`` a second on average and ``burst`` at once.

    Args:
        rate_per_s: Tokens added per second, above 0.
        burst: Tokens held at most, at least 1.
        now: Monotonic seconds; the bucket starts full.
    """

    def __init__(self, rate_per_s: float, burst: float, *, now: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = burst
        self._at = now

    def take(self, amount: float = 1.0, *, now: float) -> bool:
        """Spend ``amount`` if it is there; otherwise spend nothing and say False."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate_per_s)
        self._at = now
        if self._tokens < amount:
            return False
        self._tokens -= amount
        return True

    def wait_s(self, amount: float = 1.0) -> float:
        """Seconds after the last ``take`` until ``amount`` would be there."""
        return max(0.0, (amount - self._tokens) / self._rate_per_s)
