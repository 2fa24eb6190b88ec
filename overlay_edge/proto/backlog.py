"""Backlog: what waits for its turn, bounded by number and by bytes; the oldest gives way."""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Backlog(Generic[T]):
    """A queue of things with a size.

    Args:
        max_items: Held at most.
        max_bytes: They may have together; what is longer by itself is not taken.

    Attributes:
        held_bytes: What is held now.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self.held_bytes = 0
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._items: deque[tuple[T, int]] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: T, size: int) -> list[T]:
        """Put one at the end.

        Returns:
            What gave way for it, oldest first; the item itself, if it can never fit.
        """
        if size > self._max_bytes:
            return [item]
        self._items.append((item, size))
        self.held_bytes += size
        gone = []
        while len(self._items) > self._max_items or self.held_bytes > self._max_bytes:
            gone.append(self.take())
        return gone

    def put_back(self, items: list[tuple[T, int]]) -> list[T]:
        """Put some in front again, in their order, after they were taken.

        Returns:
            What does not fit any more: the oldest of them.
        """
        gone = []
        while items and (
            len(self._items) + len(items) > self._max_items
            or self.held_bytes + sum(size for _, size in items) > self._max_bytes
        ):
            gone.append(items.pop(0)[0])
        self._items.extendleft(reversed(items))
        self.held_bytes += sum(size for _, size in items)
        return gone

    def drop(self, is_gone: Callable[[T], bool]) -> int:
        """Let go of some; returns how many."""
        kept = [(item, size) for item, size in self._items if not is_gone(item)]
        gone = len(self._items) - len(kept)
        self._items = deque(kept)
        self.held_bytes = sum(size for _, size in kept)
        return gone

    def take(self) -> T:
        """Take the oldest; there must be one."""
        item, size = self._items.popleft()
        self.held_bytes -= size
        return item
