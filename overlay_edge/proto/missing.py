"""Missing: ids heard of whose messages have not come, and who is asked for each, when.

    ihave from a    wait 120 ms    ask a    60 ms    ask b (said ihave, too)    3 s    give up

An ihave is a promise. Who was asked and did not send it has broken it; who sends, has kept
it. Scores are made of that (``reputation.py``).
"""

from dataclasses import dataclass, field
from heapq import heappop, heappush

MAX_MISSING = 1024  # ids; more are left to the comparing of digests
MAX_FROM_ONE = 256  # of these, told first by one neighbour: lies must not crowd out the rest
MAX_SOURCES = 4  # of one id: who is asked for it
GRAFT_S, GRAFT_RTTS = 0.12, 3.0  # wait for a push after the first ihave
AGAIN_S, AGAIN_RTTS = 0.06, 1.5  # and then for the next one asked
PROMISE_S = 3.0  # who has said ihave and was asked, answers by then
MISSING_BYTES = 850  # measured: an entry with its sources
NEVER = float("inf")


@dataclass(slots=True)
class Entry:
    """An id heard of.

    Attributes:
        brought_by: The neighbour that told of it first.
        sources: Neighbours that have it and their round trip, hop for hop; first to tell first.
        at: When the next one is asked.
        asked: Who was.
    """

    topic: str
    brought_by: bytes
    sources: dict[bytes, tuple[int, float]]
    at: float = NEVER
    asked: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Ask:
    """Whom to ask for what."""

    peer: bytes
    topic: str
    id: bytes


class Missing:
    """The table of such ids.

    Attributes:
        full_total: Ids that found no room.
        broken_total: Ids given up.
    """

    def __init__(self) -> None:
        self.full_total = 0
        self.broken_total = 0
        self._kept: list[bytes] = []
        self._broken: list[bytes] = []
        self._entries: dict[bytes, Entry] = {}
        self._brought: dict[bytes, int] = {}
        self._timers: list[tuple[float, bytes]] = []  # of entries; outdated ones are skipped

    def __len__(self) -> int:
        return len(self._entries)

    def announced(
        self, peer: bytes, topic: str, id: bytes, hop: int, rtt_s: float, *, now: float
    ) -> bool:
        """A neighbour has a message; True if nobody had told of it before."""
        entry = self._entries.get(id)
        if entry is None:
            brought = self._brought.get(peer, 0)
            if len(self._entries) >= MAX_MISSING or brought >= MAX_FROM_ONE:
                self.full_total += 1
                return False
            self._brought[peer] = brought + 1
            entry = self._entries[id] = Entry(topic, peer, {peer: (hop, rtt_s)})
            self._plan(id, entry, now + max(GRAFT_S, GRAFT_RTTS * rtt_s))
            return True
        if peer not in entry.sources and len(entry.sources) < MAX_SOURCES:
            entry.sources[peer] = (hop, rtt_s)
            if len(entry.asked) == len(entry.sources) - 1:  # all others were asked in vain
                self._plan(id, entry, min(entry.at, now + AGAIN_S))
        return False

    def arrived(self, id: bytes, peer: bytes) -> Entry | None:
        """The message came, from whomever."""
        entry = self._entries.get(id)
        if entry is None:
            return None
        self._forget(id, entry)
        if peer in entry.asked:
            self._kept.append(peer)
        return entry

    def gone(self, peer: bytes, *, now: float) -> None:
        """A neighbour is lost: what it had is asked of others now."""
        for id, entry in self._entries.items():
            if entry.sources.pop(peer, None) is not None:
                if peer in entry.asked:
                    entry.asked.remove(peer)
                self._plan(id, entry, now)

    def due(self, *, now: float) -> list[Ask]:
        """Whom to ask now; who has nobody left to be asked is given up."""
        asks: list[Ask] = []
        while self._timers and self._timers[0][0] <= now:
            at, id = heappop(self._timers)
            entry = self._entries.get(id)
            if entry is None or entry.at != at:
                continue
            peer = next((one for one in entry.sources if one not in entry.asked), None)
            if peer is None:
                self._forget(id, entry)
                self._broken += entry.asked
                self.broken_total += 1
                continue
            entry.asked.append(peer)
            is_last = len(entry.asked) == len(entry.sources)
            wait_s = max(AGAIN_S, AGAIN_RTTS * entry.sources[peer][1])
            self._plan(id, entry, now + (PROMISE_S if is_last else wait_s))
            asks.append(Ask(peer, entry.topic, id))
        return asks

    def take_kept(self) -> list[bytes]:
        """Neighbours that kept a promise since this was asked last."""
        kept, self._kept = self._kept, []
        return kept

    def take_broken(self) -> list[bytes]:
        """Neighbours that broke one since this was asked last."""
        broken, self._broken = self._broken, []
        return broken

    def deadline(self) -> float:
        """Wake me then."""
        while self._timers:
            at, id = self._timers[0]
            entry = self._entries.get(id)
            if entry is not None and entry.at == at:
                return at
            heappop(self._timers)
        return NEVER

    @property
    def held_bytes(self) -> int:
        """Bytes of all entries."""
        return MISSING_BYTES * len(self._entries)

    def _forget(self, id: bytes, entry: Entry) -> None:
        del self._entries[id]
        left = self._brought[entry.brought_by] - 1
        if left:
            self._brought[entry.brought_by] = left
        else:
            del self._brought[entry.brought_by]

    def _plan(self, id: bytes, entry: Entry, at: float) -> None:
        entry.at = at
        heappush(self._timers, (at, id))
        if len(self._timers) > 8 * MAX_MISSING:  # outdated ones deep in the heap
            self._timers = [(one.at, id) for id, one in self._entries.items()]
            self._timers.sort()  # a sorted list is a heap
