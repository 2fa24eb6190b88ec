"""Audit: who used, was denied or changed what; the newest records, in RAM.

The ring holds the newest records of the chain (see :mod:`overlay_edge.proto.chain`); where a
reader comes too late, it gets one gap for all it has missed. What peers can cause is folded:
the like of one record is counted for ten seconds, then told, so that no peer can flush the
ring by knocking.
"""

import unicodedata
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from overlay_edge.proto.chain import GENESIS, VERSION, Kind, canonical, sealed

MAX_ATTRS_BYTES = 1024  # the platform's limit
MAX_FACTS_BYTES = 512  # actor, subject
MAX_TEXT = 200  # characters; 200 that are all escaped are 1200 bytes, and a record still fits
MAX_INT = 1 << 53  # what every JSON reader can hold
RECORD_COST = 120  # bytes of a record beside its text
FOLD_MS = 10_000
MAX_FOLDS = 256  # actors told apart; one more, and the oldest is told early
MAX_PER_S = 32  # records that peers cause: 1024 then last half a minute of any storm

Facts = Mapping[str, str | int | bool]
NOTHING: Facts = {}

CAUSED_BY_PEERS = frozenset({Kind.CAP_USED, Kind.CAP_DENIED, Kind.QUOTA_REJECT})


class Cursor(NamedTuple):
    """How far a reader is: the next record it wants, and the hash it has seen last."""

    seq: int = 0
    head: str = ""


class Batch(NamedTuple):
    """Records as lines of JSON, where to go on, and how many a gap among them stands for."""

    lines: tuple[str, ...]
    cursor: Cursor
    lost: int = 0


@dataclass(slots=True)
class _Fold:
    """Records like one that was written."""

    began_ms: int
    actor: Facts
    subject: Facts
    count: int = 0


class AuditLog:
    """The chain of this boot, and a ring of its newest records.

    Args:
        writer: Who writes; the node's name for its sink.
        boot: What tells this start from every other one.
        max_records: Records kept.
        max_bytes: What they may hold.

    Attributes:
        folded_total: Records that were counted instead of written.
        overwritten_total: Records that left the ring for newer ones.
    """

    def __init__(self, *, writer: str, boot: str, max_records: int, max_bytes: int) -> None:
        self.folded_total = 0
        self.overwritten_total = 0
        self._writer = _text(writer)[:64]
        self._boot = _text(boot)[:64]
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._ring: deque[tuple[str, str]] = deque()  # line, hash
        self._bytes = 0
        self._seq = 0
        self._head = GENESIS
        self._lost_head = GENESIS  # hash of the newest record that left the ring
        self._folds: dict[tuple[Kind, str, str], _Fold] = {}
        self._second_ms = 0
        self._in_second = 0
        self._shed = 0
        self._watchers: list[Callable[[], None]] = []

    @property
    def boot(self) -> str:
        """What tells this start from every other one."""
        return self._boot

    @property
    def next_seq(self) -> int:
        """Number of the record that is written next; also how many there were."""
        return self._seq

    @property
    def oldest_seq(self) -> int:
        """Number of the oldest record held."""
        return self._seq - len(self._ring)

    @property
    def held_bytes(self) -> int:
        """What the ring holds."""
        return self._bytes

    def append(
        self,
        kind: Kind,
        *,
        ts_ms: int,
        actor: Facts = NOTHING,
        subject: Facts = NOTHING,
        reason: str = "",
        attrs: Facts = NOTHING,
    ) -> bool:
        """Write one record; never fails, whatever a peer put into it.

        Args:
            kind: What happened.
            ts_ms: Milliseconds since 1970, as the machine believes.
            actor: Who: ``cap_id``, or what else is known; never a token.
            subject: To what: ``name``, ``content_id``.
            reason: Why, one of our own words.
            attrs: More; cut to 1 KiB.

        Returns:
            False if it was folded into an earlier one, or one too many in this second.
        """
        self._tell_folds(ts_ms, everything=kind is Kind.STOP)
        if kind not in CAUSED_BY_PEERS:
            self._write(kind, ts_ms, actor, subject, reason, attrs)
            return True
        key = (kind, canonical(_fit(actor, MAX_FACTS_BYTES)), reason[:MAX_TEXT])
        fold = self._folds.get(key)
        if fold is not None:
            fold.count += 1
            self.folded_total += 1
            return False
        if not self._is_affordable(ts_ms):
            self._shed += 1
            self.folded_total += 1
            return False
        if len(self._folds) >= MAX_FOLDS:
            self._tell_fold(next(iter(self._folds)), ts_ms)
        self._folds[key] = _Fold(ts_ms, actor, subject)
        if self._shed:
            attrs = {**attrs, "shed": self._shed}
            self._shed = 0
        self._write(kind, ts_ms, actor, subject, reason, attrs)
        return True

    def read(self, cursor: Cursor, limit: int, *, ts_ms: int) -> Batch:
        """Records from a cursor on, oldest first; a gap line before them if some are lost."""
        self._tell_folds(ts_ms, everything=False)
        lines: list[str] = []
        oldest = self.oldest_seq
        lost = max(0, oldest - cursor.seq)
        if lost:
            lines.append(self._gap(cursor, oldest - 1, ts_ms))
            cursor = Cursor(oldest, self._lost_head)
        at = cursor.seq - oldest
        found = list(islice(self._ring, at, at + limit))
        if found:
            lines += [line for line, _ in found]
            cursor = Cursor(cursor.seq + len(found), found[-1][1])
        return Batch(tuple(lines), cursor, lost)

    def drop(self) -> None:
        """Let go of every record; who reads on is told of a gap."""
        self.overwritten_total += len(self._ring)
        self._lost_head = self._head
        self._ring.clear()
        self._bytes = 0
        self._folds.clear()

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` after each record from now on; the result ends that."""
        self._watchers.append(wake)

        def forget() -> None:
            if wake in self._watchers:
                self._watchers.remove(wake)

        return forget

    def _write(
        self, kind: Kind, ts_ms: int, actor: Facts, subject: Facts, reason: str, attrs: Facts
    ) -> None:
        record = {
            **self._frame(kind, ts_ms, self._seq, self._head),
            "actor": _fit(actor, MAX_FACTS_BYTES),
            "subject": _fit(subject, MAX_FACTS_BYTES),
            "reason": _text(reason),
            "attrs": _fit(attrs, MAX_ATTRS_BYTES),
        }
        line, self._head = sealed(record)
        self._seq += 1
        self._ring.append((line, self._head))
        self._bytes += _cost(line)
        while len(self._ring) > self._max_records or self._bytes > self._max_bytes:
            lost, self._lost_head = self._ring.popleft()
            self._bytes -= _cost(lost)
            self.overwritten_total += 1
        for wake in list(self._watchers):
            wake()

    def _gap(self, cursor: Cursor, last: int, ts_ms: int) -> str:
        prev = GENESIS if cursor.seq == 0 else cursor.head
        record = {
            **self._frame(Kind.GAP, ts_ms, last, prev),
            "actor": {},
            "subject": {},
            "reason": "overwritten",
            "attrs": {"from": cursor.seq, "to": last, "tail": self._lost_head},
        }
        return sealed(record)[0]

    def _frame(self, kind: Kind, ts_ms: int, seq: int, prev: str) -> dict[str, Any]:
        return {
            "v": VERSION,
            "ts_ms": ts_ms,
            "writer": self._writer,
            "boot": self._boot,
            "seq": seq,
            "kind": str(kind),
            "prev": prev,
        }

    def _is_affordable(self, ts_ms: int) -> bool:
        if abs(ts_ms - self._second_ms) >= 1000:  # the clock of a board may be set back
            self._second_ms, self._in_second = ts_ms, 0
        self._in_second += 1
        return self._in_second <= MAX_PER_S

    def _tell_folds(self, ts_ms: int, *, everything: bool) -> None:
        for key, fold in list(self._folds.items()):
            if not everything and abs(ts_ms - fold.began_ms) < FOLD_MS:
                break  # they are in order
            self._tell_fold(key, ts_ms)

    def _tell_fold(self, key: tuple[Kind, str, str], ts_ms: int) -> None:
        fold = self._folds.pop(key)
        if fold.count:
            folded: Facts = {"folded": fold.count}
            self._write(key[0], ts_ms, fold.actor, fold.subject, key[2], folded)


def _fit(facts: Facts, limit: int) -> dict[str, str | int | bool]:
    """As many facts as fit, bounded and as JSON may carry them."""
    fitted: dict[str, str | int | bool] = {}
    room = limit - len('{"cut":true}')
    for name, value in facts.items():
        if isinstance(value, int):
            bounded: str | int | bool = value if abs(value) <= MAX_INT else _text(hex(value))
        else:
            bounded = _text(value)
        room -= len(canonical({_text(name): bounded}).encode())
        if room < 0:
            fitted["cut"] = True
            break
        fitted[_text(name)] = bounded
    return fitted


def _text(value: object) -> str:
    """Valid Unicode in NFC, not too long."""
    text = str(value)[:MAX_TEXT].encode("utf-8", "replace").decode()
    return unicodedata.normalize("NFC", text)[:MAX_TEXT]


def _cost(line: str) -> int:
    return len(line.encode()) + RECORD_COST
