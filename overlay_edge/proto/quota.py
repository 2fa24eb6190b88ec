"""Quotas: token buckets that are told the time, and one account for each who is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from overlay_edge.config import QuotaConfig
from overlay_edge.errors import Refused


class TokenBucket:
    """Allows ``rate`` a second on average and ``burst`` at once.

    Args:
        rate_per_s: Tokens added per second, above 0.
        burst: Tokens held at most, at least 1.
        now: Monotonic seconds; the bucket starts full.
    """

    def __init__(self, rate_per_s: float, burst: float, *, now: float) -> None:
        self.rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = burst
        self._at = now

    def limit(self, rate_per_s: float, burst: float) -> None:
        """Go on at another rate; what is held stays, up to the burst."""
        self.rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = min(self._tokens, burst)

    def take(self, amount: float = 1.0, *, now: float) -> bool:
        """Spend ``amount`` if it is there; otherwise spend nothing and say False."""
        self._refill(now)
        if self._tokens < amount:
            return False
        self._tokens -= amount
        return True

    def spend(self, amount: float, *, now: float) -> None:
        """Spend ``amount`` even if it is not there: the rest is a debt."""
        self._refill(now)
        self._tokens -= amount

    def wait_s(self, amount: float = 1.0) -> float:
        """Seconds after the last ``take`` until ``amount`` would be there."""
        return max(0.0, (amount - self._tokens) / self.rate_per_s)

    def _refill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self.rate_per_s)
        self._at = now


@dataclass(slots=True)
class _Account:
    """What one key has left, and has open."""

    requests: TokenBucket
    traffic: TokenBucket
    streams: int = 0


class Quotas:
    """What each key may use over all its sessions: a capability, or an address without any.

    Args:
        config: Requests and bytes per second, open streams, keys remembered.
    """

    def __init__(self, config: QuotaConfig) -> None:
        self.exhausted_total = 0
        self._config = config
        self._accounts: dict[str, _Account] = {}  # longest unused first

    def __len__(self) -> int:
        return len(self._accounts)

    def configure(self, config: QuotaConfig) -> None:
        """Take other limits; what is open stays counted, rates start anew."""
        self._config = config
        for account in self._accounts.values():
            account.requests.limit(config.requests, config.requests)
            account.traffic.limit(config.traffic_bytes, config.traffic_bytes)

    def admit(
        self, key: str, *, rates: Sequence[tuple[str, int]] = (), now: float
    ) -> Refused | None:
        """Ask for one more request; None admits it and counts its stream until ``release``.

        Args:
            key: Whose.
            rates: Lower rates that come with a capability, each with who set it: all that
                carry the same one share it.
            now: Monotonic seconds.
        """
        account = self._account(key, now)
        if account.streams >= self._config.streams:
            return self._refuse(f"{account.streams} requests open", 0.1)
        # Bytes are paid afterwards: who is in debt waits until it is paid off.
        if not account.traffic.take(0.0, now=now):
            return self._refuse("bytes per second used up", account.traffic.wait_s(0.0))
        buckets = [account.requests, *(self._rate(*rate, now) for rate in rates)]
        for bucket in buckets:
            if not bucket.take(now=now):
                return self._refuse("requests per second used up", bucket.wait_s())
        account.streams += 1
        return None

    def _rate(self, owner: str, rate_per_s: int, now: float) -> TokenBucket:
        bucket = self._account(f"rate of {owner}", now).requests
        if bucket.rate_per_s != rate_per_s:
            bucket.limit(rate_per_s, rate_per_s)
        return bucket

    def release(self, key: str) -> None:
        """A request that was admitted is over."""
        account = self._accounts.get(key)
        if account is not None and account.streams:
            account.streams -= 1

    def charge(self, key: str, amount: int, *, now: float) -> None:
        """Count bytes of objects; more than there are makes a debt."""
        self._account(key, now).traffic.spend(amount, now=now)

    def _account(self, key: str, now: float) -> _Account:
        account = self._accounts.pop(key, None)
        if account is None:
            requests, traffic = self._config.requests, self._config.traffic_bytes
            account = _Account(
                TokenBucket(requests, requests, now=now), TokenBucket(traffic, traffic, now=now)
            )
            if len(self._accounts) >= self._config.max_keys:
                self._forget_one()
        self._accounts[key] = account
        return account

    def _forget_one(self) -> None:
        # One with nothing open, if there is one among the longest unused: its streams would
        # otherwise be forgotten with it, which only ever errs in the peer's favour.
        oldest = list(islice(self._accounts.items(), 16))
        key = next((key for key, account in oldest if not account.streams), oldest[0][0])
        del self._accounts[key]

    def _refuse(self, why: str, wait_s: float) -> Refused:
        self.exhausted_total += 1
        return Refused(429, "quota_exhausted", why, retry_after_ms=1 + int(1000 * wait_s))
