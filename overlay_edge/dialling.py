"""Dialling: when an address may be dialled again.

failed, or lost within a minute     longer each time, and never in step with others
told to come back later             then, and no sooner
"""

from collections import OrderedDict
from collections.abc import Callable

from overlay_edge.errors import TransportError
from overlay_edge.proto.backoff import Backoff

WAITS_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # a network that was cut is whole again soon after
MAX_ADDRESSES = 512  # remembered; the one that failed longest ago makes room
MAX_HELD_S = 60.0  # nobody keeps us away for longer
PATIENCE_S = 10.0  # longer than this is not waited for: the mesh has others


class Dialling:
    """What is known of addresses that failed.

    Args:
        dice: 0 to 1.
    """

    def __init__(self, dice: Callable[[], float]) -> None:
        self._dice = dice
        self._known: OrderedDict[str, tuple[Backoff, float]] = OrderedDict()

    def wait_s(self, addr: str, *, now: float) -> float:
        """How long to wait before an address is dialled.

        Raises:
            TransportError: Too long.
        """
        _, until = self._known.get(addr, (None, now))
        wait_s = max(0.0, until - now)
        if wait_s > PATIENCE_S:
            raise TransportError(f"{addr}: not before {wait_s:.0f} s have passed")
        return wait_s

    def failed(self, addr: str, *, lived_s: float = 0.0, now: float) -> None:
        """Nobody was there, or the link did not live."""
        backoff, until = self._take(addr, now)
        wait_s = backoff.failed(lived_s=lived_s, dice=self._dice()) or WAITS_S[-1]
        self._known[addr] = (backoff, max(until, now + wait_s))

    def hold(self, addr: str, wait_s: float, *, now: float) -> None:
        """Whoever is there asks us not to come back sooner."""
        backoff, until = self._take(addr, now)
        # A part more, so that those who were told the same do not come together.
        wait_s = min(wait_s, MAX_HELD_S) * (1 + self._dice() / 2)
        self._known[addr] = (backoff, max(until, now + wait_s))

    def _take(self, addr: str, now: float) -> tuple[Backoff, float]:
        found = self._known.pop(addr, None)
        while len(self._known) >= MAX_ADDRESSES:
            self._known.popitem(last=False)
        return found or (Backoff(WAITS_S, is_endless=True), now)
