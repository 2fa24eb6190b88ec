"""The audit log: bounded, never failing, and no peer can flush it by knocking."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.proto.audit import FOLD_MS, MAX_FOLDS, MAX_PER_S, AuditLog, Cursor
from overlay_edge.proto.chain import MAX_RECORD_BYTES, Kind, Verifier

facts = st.dictionaries(
    st.text(max_size=80), st.text(max_size=400) | st.integers() | st.booleans(), max_size=30
)


def made(records: int = 100, ring_bytes: int = 1 << 20) -> AuditLog:
    return AuditLog(writer="edge", boot="b1", max_records=records, max_bytes=ring_bytes)


def everything(log: AuditLog, ts_ms: int = 0) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read(Cursor(), 10_000, ts_ms=ts_ms).lines]


def test_a_record_says_who_did_what_to_what_and_why() -> None:
    log = made()
    log.append(
        Kind.CAP_DENIED,
        ts_ms=5,
        actor={"cap_id": "4f2a"},
        subject={"name": "put"},
        reason="expired",
        attrs={"size": 7},
    )
    (record,) = everything(log)
    assert {key: record[key] for key in ("v", "ts_ms", "writer", "boot", "seq", "kind")} == {
        "v": 1,
        "ts_ms": 5,
        "writer": "edge",
        "boot": "b1",
        "seq": 0,
        "kind": "cap_denied",
    }
    assert (record["actor"], record["subject"]) == ({"cap_id": "4f2a"}, {"name": "put"})
    assert (record["reason"], record["attrs"]) == ("expired", {"size": 7})


@given(facts, facts, st.text(max_size=1000), facts)
def test_whatever_is_put_in_a_record_it_fits_and_verifies(
    actor: dict[str, Any], subject: dict[str, Any], reason: str, attrs: dict[str, Any]
) -> None:
    log = made()
    log.append(Kind.PURGE, ts_ms=0, actor=actor, subject=subject, reason=reason, attrs=attrs)
    (line,) = log.read(Cursor(), 9, ts_ms=0).lines
    assert len(line.encode()) <= MAX_RECORD_BYTES
    assert Verifier().feed(line) == ""


def test_lone_surrogates_and_control_characters_fit_too() -> None:
    log = made()
    ugly = "\ud800\x00\x1b" * 200
    log.append(Kind.PURGE, ts_ms=0, actor={ugly: ugly}, subject={"b": ugly}, reason=ugly)
    (line,) = log.read(Cursor(), 9, ts_ms=0).lines
    assert len(line.encode()) <= MAX_RECORD_BYTES
    assert Verifier().feed(line) == ""


@given(st.integers(1, 20), st.integers(500, 5000), st.integers(0, 60))
def test_the_ring_keeps_the_newest_within_both_bounds(
    records: int, ring_bytes: int, count: int
) -> None:
    log = made(records, ring_bytes)
    for number in range(count):
        log.append(Kind.PURGE, ts_ms=number)
        assert log.next_seq - log.oldest_seq <= records
        assert log.held_bytes <= ring_bytes
    assert log.overwritten_total == log.oldest_seq


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(1, 8))
def test_a_reader_of_any_pace_gets_every_record_or_a_gap_for_it(
    pace: list[int], limit: int
) -> None:
    log, cursor, verifier = made(records=4), Cursor(), Verifier()
    for writes in [*pace, 0, 0, 0, 0, 0]:
        for _ in range(writes):
            log.append(Kind.PURGE, ts_ms=0)
        batch = log.read(cursor, limit, ts_ms=0)
        assert len(batch.lines) <= limit + 1
        assert [verifier.feed(line) for line in batch.lines] == [""] * len(batch.lines)
        cursor = batch.cursor
    assert cursor.seq == log.next_seq
    assert verifier.records + verifier.lost == log.next_seq
    assert verifier.duplicates == 0


def test_a_cursor_from_the_future_gets_nothing() -> None:
    log = made()
    log.append(Kind.START, ts_ms=0)
    assert log.read(Cursor(7), 9, ts_ms=0) == ((), Cursor(7), 0)


def test_what_a_peer_repeats_is_counted_and_told_once() -> None:
    log = made()
    for number in range(1000):
        log.append(Kind.QUOTA_REJECT, ts_ms=number, actor={"cap_id": "a"}, reason="rps")
    assert log.next_seq == 1
    assert log.folded_total == 999
    records = everything(log, ts_ms=FOLD_MS)
    assert [record["attrs"] for record in records] == [{}, {"folded": 999}]
    assert records[1]["actor"] == {"cap_id": "a"}


def test_what_is_folded_is_told_before_the_stop() -> None:
    log = made()
    for _ in range(3):
        log.append(Kind.CAP_DENIED, ts_ms=0, reason="expired")
    log.append(Kind.STOP, ts_ms=1)
    assert [(r["kind"], r["attrs"]) for r in everything(log)] == [
        ("cap_denied", {}),
        ("cap_denied", {"folded": 2}),
        ("stop", {}),
    ]


def test_a_crowd_of_peers_writes_no_more_than_its_share() -> None:
    log = made()
    for number in range(1000):
        log.append(Kind.CAP_DENIED, ts_ms=0, actor={"cap_id": str(number)})
    assert log.next_seq == MAX_PER_S
    log.append(Kind.PURGE, ts_ms=0)  # what an operator does is always written
    assert log.next_seq == MAX_PER_S + 1
    log.append(Kind.CAP_DENIED, ts_ms=1000, actor={"cap_id": "last"})
    assert everything(log, 1000)[-1]["attrs"] == {"shed": 1000 - MAX_PER_S}


def test_the_table_of_actors_is_bounded_and_forgets_nobody_silently() -> None:
    log = made(records=10_000)
    for number in range(MAX_FOLDS + 10):
        for _ in range(3):
            log.append(Kind.CAP_USED, ts_ms=number * 31, actor={"cap_id": str(number)})
    log.append(Kind.STOP, ts_ms=FOLD_MS * 9)
    told = sum(r["attrs"].get("folded", 0) for r in everything(log))
    shed = sum(r["attrs"].get("shed", 0) for r in everything(log))
    assert told + shed == log.folded_total


def test_a_clock_set_back_does_not_hold_records_for_ever() -> None:
    log = made()
    for _ in range(2):
        log.append(Kind.CAP_DENIED, ts_ms=10**12)
    log.append(Kind.CAP_DENIED, ts_ms=0)
    assert [record["attrs"] for record in everything(log)] == [{}, {"folded": 1}, {}]


def test_a_watcher_is_woken_until_it_forgets() -> None:
    log, woken = made(), []
    forget = log.watch(lambda: woken.append(log.next_seq))
    log.append(Kind.START, ts_ms=0)
    forget()
    forget()
    log.append(Kind.STOP, ts_ms=0)
    assert woken == [1]
