"""The audit's chain: how a record is written down, hashed and verified.

    record 0              record 1              record 2
    prev      b3:0   .--> prev            .--> prev
    ...              |    ...             |    ...
    self_hash -------'    self_hash ------'    self_hash

``self_hash`` is "b3:" and BLAKE3 of the record without it, as canonical JSON: keys sorted, no
spaces, UTF-8 in NFC, no fractions. A chain belongs to one writer and one boot: after a restart
it begins anew with record 0. Nothing is signed: who holds the whole chain can forge all of it,
so it is worth as much as the sink that took the hashes in time.

Where records are lost, one ``gap`` stands for all of them: its ``prev`` is the hash before
them, ``attrs.tail`` the hash of the last one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from blake3 import blake3

VERSION = 1
GENESIS = "b3:0"
MAX_RECORD_BYTES = 4096  # the platform's limit
MAX_RECENT = 4096  # hashes kept to tell a record that came twice from a forged one


class Kind(StrEnum):
    """What happened."""

    START = "start"
    STOP = "stop"
    STOP_ASKED = "stop_asked"
    CAP_USED = "cap_used"
    CAP_DENIED = "cap_denied"
    CAP_REVOKED = "cap_revoked"
    CAP_ROTATED = "cap_rotated"
    QUOTA_REJECT = "quota_reject"
    POLICY_CHANGED = "policy_changed"
    PURGE = "purge"
    MEDIUM_REMOVED = "medium_removed"
    GAP = "gap"


@dataclass(slots=True)
class _Chain:
    """How far one chain is verified."""

    next_seq: int
    head: str
    recent: dict[int, str]


class Verifier:
    """Checks lines of records, from a file or a node, in the order a sink took them.

    A record may come twice: sinks are served at least once. It may not change, be missing
    without a gap that says so, or follow anything but its predecessor.

    Attributes:
        records: Records that hold, each counted once.
        duplicates: Records that came again.
        lost: Records that gaps stand for, or that are older than the first line.
        chains: Boots of writers.
    """

    def __init__(self) -> None:
        self.records = 0
        self.duplicates = 0
        self.lost = 0
        self._chains: dict[tuple[str, str], _Chain] = {}

    @property
    def chains(self) -> int:
        """Boots of writers seen."""
        return len(self._chains)

    def feed(self, line: str) -> str:
        """Check one line; the result says what is wrong, or is empty."""
        try:
            record = _parse(line)
        except ValueError as misfit:
            return str(misfit)
        key = (record["writer"], record["boot"])
        chain = self._chains.get(key)
        if record["kind"] == Kind.GAP:
            return self._gap(key, chain, record)
        return self._record(key, chain, record)

    def _record(self, key: tuple[str, str], chain: _Chain | None, record: Mapping[str, Any]) -> str:
        seq, prev, own = record["seq"], record["prev"], record["self_hash"]
        problem = ""
        if chain is None:
            if seq == 0 and prev != GENESIS:
                problem = f"record 0 follows {prev}, expected {GENESIS}"
            self.lost += seq
            chain = self._chains[key] = _Chain(seq, prev, {})
        elif seq < chain.next_seq:
            self.duplicates += 1
            is_known = chain.recent.get(seq, own) == own
            return "" if is_known else f"record {seq} came twice with different contents"
        elif seq > chain.next_seq:
            problem = f"records {chain.next_seq} to {seq - 1} are missing"
        elif prev != chain.head:
            problem = f"record {seq} follows {prev}, expected {chain.head}"
        self.records += 1
        chain.next_seq, chain.head = seq + 1, own
        chain.recent[seq] = own
        if len(chain.recent) > MAX_RECENT:
            del chain.recent[next(iter(chain.recent))]
        return problem

    def _gap(self, key: tuple[str, str], chain: _Chain | None, record: Mapping[str, Any]) -> str:
        attrs, prev = record["attrs"], record["prev"]
        first, last, tail = attrs.get("from"), attrs.get("to"), attrs.get("tail")
        if type(first) is not int or type(last) is not int or not 0 <= first <= last:
            return "a gap without its records"
        if not isinstance(tail, str):
            return "a gap without its end"
        if chain is None:
            chain = self._chains[key] = _Chain(0, GENESIS, {})
        elif last < chain.next_seq:
            self.duplicates += 1
            return ""
        elif first > chain.next_seq:
            return f"records {chain.next_seq} to {first - 1} are missing"
        elif first == chain.next_seq and prev not in ("", chain.head):
            return f"the gap from {first} follows {prev}, expected {chain.head}"
        self.lost += last + 1 - chain.next_seq
        chain.next_seq, chain.head = last + 1, tail
        return ""


def canonical(record: object) -> str:
    """The one way to write a record down: keys sorted, no spaces, nothing escaped needlessly."""
    return json.dumps(
        record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def sealed(record: Mapping[str, Any]) -> tuple[str, str]:
    """The line of a record, and its hash."""
    own = _digest(record)
    return canonical({**record, "self_hash": own}), own


def _digest(record: Mapping[str, Any]) -> str:
    return "b3:" + blake3(canonical(record).encode()).hexdigest()


def _parse(line: str) -> dict[str, Any]:
    """A record whose own hash holds; ValueError says what does not."""
    if len(line.encode("utf-8", "replace")) > MAX_RECORD_BYTES:
        raise ValueError(f"a line of more than {MAX_RECORD_BYTES} bytes")
    try:
        record: dict[str, Any] = json.loads(
            line, object_pairs_hook=_unique, parse_float=_no_fraction
        )
        own = record.pop("self_hash")
        found = _digest(record)
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        raise ValueError("not a record") from None
    if record.get("v") != VERSION:
        raise ValueError(f"a record of version {str(record.get('v'))[:20]}, expected {VERSION}")
    shape = {"seq": int, "prev": str, "writer": str, "boot": str, "kind": str, "attrs": dict}
    if any(type(record.get(name)) is not kind for name, kind in shape.items()) or record["seq"] < 0:
        raise ValueError("not a record: a field is missing or of the wrong kind")
    if own != found:
        raise ValueError(f"record {record['seq']} was changed: its hash is {found}")
    return {**record, "self_hash": own}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A name that comes twice would be read differently by every reader."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _no_fraction(text: str) -> Any:
    raise ValueError(f"{text[:20]} is a fraction")
