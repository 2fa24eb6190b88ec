"""Lane: events for the peer's applications, which wait for their turn (``oap1.md`` section 4).

Control frames go ahead of it, open streams take turns with it, and the peer need not read: what
is held is bounded in bytes. When it is full, what matters least is thrown away::

    rank   0 kept longest        3 thrown away first; the oldest of a rank before the others

Nothing is thrown away silently: the owner is told, and counts.
"""

from collections import Counter, deque

from overlay_edge.proto.frame import EVENT, HEADER_BYTES, Frame

LANE_BYTES = 512 << 10  # twice the longest answer of repair; config/budget.py counts with it
FULL_BYTES = 256 << 10  # from here on the peer does not keep up
EMPTY_BYTES = 64 << 10  # it has caught up
RANKS = 4


class EventLane:
    """What waits.

    Attributes:
        deficit: Bytes it may send in this turn.
        held_bytes: Of all that waits, headers included.
        is_full: The peer does not keep up; stays so until it has caught up.
        shed: Events thrown away, by rank.
    """

    def __init__(self) -> None:
        self.deficit = 0
        self.held_bytes = 0
        self.is_full = False
        self.shed: Counter[int] = Counter()
        self._waiting: tuple[deque[Frame], ...] = tuple(deque() for _ in range(RANKS))

    def __len__(self) -> int:
        return sum(map(len, self._waiting))

    def push(self, app: int, payload: bytes, rank: int) -> None:
        """Let an event wait; what is over the limit is thrown away, the least first."""
        frame = Frame(EVENT, app=app, payload=payload)
        self._waiting[rank].append(frame)
        self.held_bytes += _cost(frame)
        while self.held_bytes > LANE_BYTES:
            least = max(rank for rank in range(RANKS) if self._waiting[rank])
            self.held_bytes -= _cost(self._waiting[least].popleft())
            self.shed[least] += 1
        self.is_full = self.is_full or self.held_bytes >= FULL_BYTES

    def pop(self) -> Frame | None:
        """The event whose turn it is; None = none waits."""
        for waiting in self._waiting:
            if waiting:
                frame = waiting.popleft()
                self.held_bytes -= _cost(frame)
                return frame
        return None

    def caught_up(self) -> bool:
        """True once, when a peer that did not keep up has taken nearly all."""
        if not self.is_full or self.held_bytes > EMPTY_BYTES:
            return False
        self.is_full = False
        return True

    def drop(self, rank: int) -> tuple[int, int]:
        """Let go of everything of a rank or above; returns how many, and their bytes."""
        dropped = [frame for waiting in self._waiting[rank:] for frame in waiting]
        for waiting in self._waiting[rank:]:
            waiting.clear()
        freed = sum(map(_cost, dropped))
        self.held_bytes -= freed
        return len(dropped), freed


def _cost(frame: Frame) -> int:
    return HEADER_BYTES + len(frame.payload)
