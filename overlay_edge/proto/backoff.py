"""Backoff: how long to wait after each failure in a row, and when to stop trying.

    failure   1      2      3      4      5      6
    wait up   0.2 s  0.4 s  0.8 s  1.5 s  2 s    give up

The dice take up to half of a wait away, so that those who failed together do not come back
together. Who has lived for a while before it failed begins anew.
"""

from collections.abc import Sequence

RESTART_S = (0.2, 0.4, 0.8, 1.5, 2.0)  # at least 100 ms, at most 2 s: the platform's rule
REDIAL_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # a neighbour away for hours; guess
FORGIVEN_S = 60.0  # the platform's rule


class Backoff:
    """Counts failures in a row.

    Args:
        waits_s: The longest wait after each failure.
        is_endless: Go on with the last wait for ever, instead of giving up after it.
        forgiven_s: What lived this long has not failed in a row.
    """

    def __init__(
        self,
        waits_s: Sequence[float] = RESTART_S,
        *,
        is_endless: bool = False,
        forgiven_s: float = FORGIVEN_S,
    ) -> None:
        self._waits_s = tuple(waits_s)
        self._is_endless = is_endless
        self._forgiven_s = forgiven_s
        self._failures = 0

    @property
    def failures(self) -> int:
        """Failures in a row so far."""
        return self._failures

    def failed(self, *, lived_s: float = 0.0, dice: float) -> float | None:
        """One more failure.

        Args:
            lived_s: How long it went well before.
            dice: 0 to 1.

        Returns:
            Seconds to wait before the next try, or None: give up.
        """
        if lived_s >= self._forgiven_s:
            self._failures = 0
        self._failures += 1
        if self._failures > len(self._waits_s) and not self._is_endless:
            return None
        longest = self._waits_s[min(self._failures, len(self._waits_s)) - 1]
        return longest * (1.0 - dice / 2)

    def succeeded(self) -> None:
        """It went well: begin anew."""
        self._failures = 0
