"""Pool: the bytes all links share, beyond the small allowance each has of its own.

Three things draw on it: a frame longer than a chunk while it is read, a chunk that a blocked
connection has not taken yet, and an echo that was not read back. Each takes before it keeps
and gives back when it lets go, so the sum over all links never passes the limit, whatever
they do.

    take -> True: keep it            give -> who waits longest is called
            False: refuse, or wait
"""

from collections.abc import Callable

from overlay_edge.errors import LocalMisuse


class Pool:
    """A number of bytes, and a line of those who wait for some.

    Args:
        limit_bytes: All there is.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.refused_total = 0
        # One entry for each link at most: the number of links is bounded elsewhere.
        self._waiting: dict[Callable[[], None], None] = {}

    def take(self, amount: int) -> bool:
        """Take bytes, or none of them."""
        if self.used_bytes + amount > self.limit_bytes:
            self.refused_total += 1
            return False
        self.used_bytes += amount
        return True

    def give(self, amount: int) -> None:
        """Give bytes back, and call those who wait, longest first, while there is room."""
        if amount > self.used_bytes:
            raise LocalMisuse(f"{amount} bytes given back, {self.used_bytes} taken")
        self.used_bytes -= amount
        # Only those who wait now: one that waits again goes to the end of the line.
        for callback in list(self._waiting):
            if self.used_bytes >= self.limit_bytes:
                return
            if callback in self._waiting:
                del self._waiting[callback]
                callback()

    def wait(self, callback: Callable[[], None]) -> None:
        """Be called once when bytes come back; waiting twice is waiting once."""
        self._waiting.setdefault(callback)

    def leave(self, callback: Callable[[], None]) -> None:
        """Wait no longer."""
        self._waiting.pop(callback, None)


class Share:
    """What one holder has taken of a pool: given back whole when the holder goes."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.held_bytes = 0

    def take(self, amount: int) -> bool:
        """Take bytes, or none of them."""
        if not self.pool.take(amount):
            return False
        self.held_bytes += amount
        return True

    def give(self, amount: int) -> None:
        """Give bytes back."""
        self.held_bytes -= amount
        self.pool.give(amount)

    def close(self) -> None:
        """Give everything back."""
        held, self.held_bytes = self.held_bytes, 0
        if held:
            self.pool.give(held)
