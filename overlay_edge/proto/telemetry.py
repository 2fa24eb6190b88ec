"""Telemetry: what a node tells of itself, numbered, so that who collects it sees what is missing.

    record   {"boot": "4f2a...", "seq": 7, "ts": 1767225600000, ...}
    gap      {"boot": "4f2a...", "first": 3, "gap": 4, "ts": ...}    3, 4, 5 and 6 are lost

Numbers run over all records of one boot, whatever topic they go to. A ring holds what waits;
the oldest gives way, and one gap stands for all that did.
"""

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

RECORD_BYTES = 200  # of a record that waits, beside its text


class Record(NamedTuple):
    """One record, or a gap.

    Attributes:
        kind: The last level of its topic.
        first: Its number, or the first of those lost.
        lost: How many are; 0 = it is a record.
    """

    kind: str
    first: int
    text: bytes
    lost: int = 0


class Telemetry:
    """The records of this boot that wait.

    Args:
        boot: What tells this start from every other one.
        max_items: Records held.
        max_bytes: What they may hold.

    Attributes:
        next_seq: Number of the next record.
        lost_total: Records that gave way.
        on_added: Called after each record.
    """

    def __init__(self, boot: str, *, max_items: int, max_bytes: int) -> None:
        self.next_seq = 0
        self.lost_total = 0
        self.on_added: Callable[[], None] = lambda: None
        self._boot = boot
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._held_bytes = 0
        self._ring: deque[Record] = deque()
        self._gaps: deque[tuple[int, int]] = deque()  # first, how many; before the ring

    def __len__(self) -> int:
        return len(self._ring)

    def add(self, kind: str, facts: Mapping[str, object], *, ts_ms: int) -> None:
        """Tell something; ``boot``, ``seq`` and ``ts`` are put in front of the facts."""
        head = {"boot": self._boot, "seq": self.next_seq, "ts": ts_ms}
        record = Record(kind, self.next_seq, _text({**head, **facts, **head}))
        self._ring.append(record)
        self.next_seq += 1
        self._held_bytes += len(record.text) + RECORD_BYTES
        while len(self._ring) > self._max_items or self._held_bytes > self._max_bytes:
            self._lose(self._ring.popleft())
        self.on_added()

    def take(self, *, ts_ms: int) -> Record | None:
        """The next record, or a gap for those lost before it; None = there is nothing."""
        if self._gaps:
            first, count = self._gaps.popleft()
            facts = {"boot": self._boot, "first": first, "gap": count, "ts": ts_ms}
            return Record("gap", first, _text(facts), count)
        if not self._ring:
            return None
        record = self._ring.popleft()
        self._held_bytes -= len(record.text) + RECORD_BYTES
        return record

    def put_back(self, records: Sequence[Record]) -> None:
        """What was taken and did not arrive, oldest first, comes again."""
        for record in reversed(records):
            if record.lost:
                self._gaps.appendleft((record.first, record.lost))
            else:
                self._ring.appendleft(record)
                self._held_bytes += len(record.text) + RECORD_BYTES

    def _lose(self, record: Record) -> None:
        self._held_bytes -= len(record.text) + RECORD_BYTES
        self.lost_total += 1
        first, count = self._gaps[-1] if self._gaps else (0, 0)
        if count and first + count == record.first:
            self._gaps[-1] = (first, count + 1)
        else:  # as many as were taken at one time and came back
            self._gaps.append((record.first, 1))


def _text(facts: Mapping[str, object]) -> bytes:
    return json.dumps(facts, separators=(",", ":"), default=str).encode()
