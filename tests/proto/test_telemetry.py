"""Telemetry: whoever collects it knows what it has not got."""

import json
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.proto.telemetry import Record, Telemetry
from tests.support.telemetry_collector import Collected


def drained(telemetry: Telemetry) -> Iterable[Record]:
    while (record := telemetry.take(ts_ms=9)) is not None:
        yield record


def new(most: int) -> Telemetry:
    return Telemetry("b1", max_items=most, max_bytes=1 << 20)


def test_records_are_numbered_over_all_topics() -> None:
    telemetry = new(10)
    telemetry.add("ready", {"ready": True}, ts_ms=1)
    telemetry.add("log", {"seq": "a word of a log line does not replace ours"}, ts_ms=2)
    first, second = (json.loads(record.text) for record in drained(telemetry))
    assert first == {"boot": "b1", "seq": 0, "ts": 1, "ready": True}
    assert second == {"boot": "b1", "seq": 1, "ts": 2}


def test_what_gave_way_is_told_as_one_gap_before_the_next() -> None:
    telemetry = new(2)
    for number in range(5):
        telemetry.add("log", {"n": number}, ts_ms=number)
    gap, *rest = drained(telemetry)
    assert json.loads(gap.text) == {"boot": "b1", "first": 0, "gap": 3, "ts": 9}
    assert [record.first for record in rest] == [3, 4]
    assert telemetry.lost_total == 3


def test_a_gap_that_did_not_arrive_is_told_again() -> None:
    telemetry = new(1)
    telemetry.add("log", {}, ts_ms=0)
    telemetry.add("log", {}, ts_ms=0)
    gap = telemetry.take(ts_ms=0)
    record = telemetry.take(ts_ms=0)
    assert gap is not None
    assert record is not None
    telemetry.put_back([gap, record])
    assert [(r.first, r.lost) for r in drained(telemetry)] == [(0, 1), (1, 0)]


@given(st.lists(st.sampled_from(["add", "take", "fail"]), max_size=60))
def test_every_number_arrives_or_is_told_as_lost(steps: list[str]) -> None:
    telemetry, collected = new(3), Collected()
    flying: list[Record] = []
    for step in [*steps, "fail"]:
        if step == "add":
            telemetry.add("log", {}, ts_ms=0)
        elif step == "take":
            record = telemetry.take(ts_ms=0)
            flying += [record] if record else []
        else:  # some arrive, in any order, the others come back
            for record in flying[::2]:
                collected.take(record.text)
            telemetry.put_back(flying[1::2])
            flying = []
    for record in drained(telemetry):
        collected.take(record.text)
    assert collected.missing() == []
    assert collected.numbers | collected.told == set(range(telemetry.next_seq))
    assert len(telemetry) == 0
