"""The chain: whoever changes, drops, adds or reorders a record is found out."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.proto.audit import AuditLog, Cursor
from overlay_edge.proto.chain import GENESIS, MAX_RECORD_BYTES, Kind, Verifier, canonical, sealed


def lines(
    count: int, *, boot: str = "b1", keep: int = 1000, since: Cursor | None = None
) -> list[str]:
    log = AuditLog(writer="edge", boot=boot, max_records=keep, max_bytes=1 << 20)
    for number in range(count):
        log.append(Kind.PURGE, ts_ms=number, subject={"name": f"o{number}"})
    return list(log.read(since or Cursor(), count, ts_ms=9).lines)


def feed(texts: list[str]) -> tuple[Verifier, list[str]]:
    verifier = Verifier()
    return verifier, [problem for text in texts if (problem := verifier.feed(text))]


def test_the_hash_is_of_the_canonical_record_without_it() -> None:
    record = json.loads(lines(1)[0])
    own = record.pop("self_hash")
    assert sealed(record)[1] == own
    assert record["prev"] == GENESIS
    assert canonical({"b": "é", "a": [1, True]}) == '{"a":[1,true],"b":"é"}'


def test_a_whole_chain_verifies() -> None:
    verifier, problems = feed(lines(20))
    assert (verifier.records, verifier.duplicates, verifier.lost, problems) == (20, 0, 0, [])


def test_spaces_and_order_of_a_collector_do_not_matter() -> None:
    texts = [json.dumps(dict(reversed(json.loads(line).items()))) for line in lines(3)]
    assert feed(texts)[1] == []


@given(st.integers(0, 9), st.data())
def test_one_changed_character_never_verifies(at: int, data: st.DataObject) -> None:
    texts = lines(10)
    text = texts[at]
    place = data.draw(st.integers(0, len(text) - 1))
    char = data.draw(st.characters(codec="utf-8").filter(lambda c: c != text[place]))
    texts[at] = text[:place] + char + text[place + 1 :]
    assert feed(texts)[1]


@given(st.integers(0, 8))
def test_a_record_left_out_is_missed(at: int) -> None:
    texts = lines(10)
    del texts[at]
    verifier, problems = feed(texts)
    if at == 0:  # the beginning may be older than the file
        assert (verifier.lost, problems) == (1, [])
    else:
        assert problems == [f"records {at} to {at} are missing"]


def test_a_record_of_another_past_does_not_fit() -> None:
    texts = lines(5)
    forged = json.loads(texts[2]) | {"reason": "forged"}
    del forged["self_hash"]
    texts[2] = sealed(forged)[0]  # it hashes well, but its successor knows better
    assert feed(texts)[1][0].startswith("record 3 follows b3:")


def test_records_that_come_again_are_counted_and_may_not_differ() -> None:
    texts = lines(6)
    verifier, problems = feed(texts[:4] + texts[2:])
    assert (verifier.records, verifier.duplicates, problems) == (6, 2, [])
    forged = json.loads(texts[2]) | {"reason": "forged"}
    del forged["self_hash"]
    assert feed([*texts, sealed(forged)[0]])[1] == ["record 2 came twice with different contents"]


def test_a_gap_tells_what_is_lost_and_ties_both_ends() -> None:
    whole = lines(10)
    head = json.loads(whole[2])["self_hash"]
    late = lines(10, keep=4, since=Cursor(3, head))
    verifier, problems = feed(whole[:3] + late)
    assert (verifier.records, verifier.lost, problems) == (7, 3, [])
    other = lines(10, keep=4, since=Cursor(3, "b3:" + "0" * 64))
    assert feed(whole[:3] + other)[1][0].startswith("the gap from 3 follows")


def test_a_gap_at_the_start_stands_for_the_first_records() -> None:
    verifier, problems = feed(lines(10, keep=4))
    assert (verifier.records, verifier.lost, problems) == (4, 6, [])


def test_a_gap_that_comes_again_and_has_grown_counts_once() -> None:
    first, later = lines(10, keep=4), lines(12, keep=4)
    verifier, problems = feed([first[0], later[0], *later])
    assert (verifier.lost, verifier.duplicates, problems) == (8, 1, [])


def test_each_boot_has_a_chain_of_its_own() -> None:
    verifier, problems = feed(lines(3) + lines(4, boot="b2"))
    assert (verifier.chains, verifier.records, problems) == (2, 7, [])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        "[" * 3000,
        '{"self_hash":"b3:0"}',
        '{"v":1,"v":1,"self_hash":""}',
        '{"v":1.0,"self_hash":""}',
        '{"v":NaN,"self_hash":""}',
        '{"v":2,"self_hash":""}',
        '{"v":1,"seq":-1,"self_hash":""}',
        '{"a":"\\ud800","self_hash":""}',
        "x" * (MAX_RECORD_BYTES + 1),
    ],
)
def test_what_is_not_a_record_is_said(text: str) -> None:
    assert feed([text])[1]


@given(st.text(max_size=200))
def test_noise_is_a_problem_and_never_an_error(text: str) -> None:
    assert feed([text])[1]


@pytest.mark.parametrize("attrs", [{}, {"from": 3, "to": 2}, {"from": 0, "to": 2}, {"from": True}])
def test_a_gap_without_its_ends_is_none(attrs: dict[str, int]) -> None:
    record = json.loads(lines(1)[0]) | {"kind": "gap", "attrs": attrs}
    del record["self_hash"]
    assert feed([sealed(record)[0]])[1][0].startswith("a gap without")
