"""Publish and subscribe on the wire: requests, outcomes, and records cut anywhere."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.errors import PeerViolation, Refused
from overlay_edge.proto import cbor
from overlay_edge.proto.effects import Accepted, Deliver, Gapped, Outcome, Queued, Shed
from overlay_edge.proto.gossip_message import MAX_DATA_BYTES
from overlay_edge.proto.pubsub import (
    MAX_RECORD_BYTES,
    MAX_REQUEST_BYTES,
    Publish,
    RecordReader,
    Subscribe,
    answer,
    encode_record,
    read_request,
)

NODE = b"n" * 32
topics = st.text(min_size=1, max_size=30)
numbers = st.integers(0, (1 << 64) - 1)
messages = st.builds(
    Deliver,
    topics,
    st.just(NODE),
    numbers,
    numbers,
    st.binary(max_size=300),
    st.just(""),
    st.just(0),
    st.integers(0, 32),
)
objects = st.builds(
    Deliver,
    topics,
    st.just(NODE),
    numbers,
    numbers,
    st.just(b""),
    st.just("b3:x"),
    numbers,
    numbers,
)
gaps = st.builds(Gapped, topics, st.just(NODE), numbers, numbers, numbers, st.just("lost"))


def test_requests_are_read_as_they_were_meant() -> None:
    assert read_request(b'{"op":"publish","topic":"a/b","size":7}') == Publish("a/b", 7)
    assert read_request(b'{"op":"subscribe","topic":"a/b","x":1}') == Subscribe("a/b")


@pytest.mark.parametrize(
    "body",
    [
        {"op": "publish", "topic": "t"},
        {"op": "publish", "topic": "t", "size": -1},
        {"op": "publish", "topic": "t", "size": True},
        {"op": "publish", "topic": "t", "size": 1 << 60},
        {"op": "publish", "size": 1},
        {"op": "subscribe", "topic": "\n"},
        {"op": "subscribe", "topic": "ä" * 65},
        {"op": "unsubscribe", "topic": "t"},
        {},
    ],
)
def test_what_is_no_request_is_refused_with_what_was_expected(body: object) -> None:
    with pytest.raises(Refused, match="expected") as caught:
        read_request(json.dumps(body).encode())
    assert (caught.value.code, caught.value.token) == (400, "bad_request")


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"\xff", b"{" * 100, b" " * (MAX_REQUEST_BYTES + 1)]
)
def test_noise_is_refused_and_never_crashes(payload: bytes) -> None:
    with pytest.raises(Refused):
        read_request(payload)


def test_a_publisher_is_told_what_became_of_it() -> None:
    said = json.loads(answer(NODE, Accepted(5, 6), "b3:x"))
    assert said == {
        "outcome": "accepted",
        "publisher": NODE.hex(),
        "epoch": 5,
        "seq": 6,
        "addr": "b3:x",
    }
    assert json.loads(answer(NODE, Queued(5, 6, "alone")))["reason"] == "alone"


@pytest.mark.parametrize(
    ("outcome", "code", "token"),
    [
        (Shed("rate", 40), 503, "shed"),
        (Shed("topics", 60_000), 503, "shed"),
        (Shed("too_large", 0), 413, "too_large"),
        (Shed("topic", 0), 400, "bad_request"),
    ],
)
def test_what_was_not_published_is_a_refusal_with_its_reason(
    outcome: Outcome, code: int, token: str
) -> None:
    with pytest.raises(Refused) as caught:
        answer(NODE, outcome)
    assert (caught.value.code, caught.value.token) == (code, token)
    if code == 503:
        assert isinstance(outcome, Shed)
        assert caught.value.retry_after_ms == outcome.retry_after_ms
        assert str(caught.value).startswith(outcome.reason)


@given(st.lists(messages | objects | gaps, max_size=8), st.integers(1, 200))
def test_records_come_back_as_they_were_however_they_are_cut(
    events: list[Deliver | Gapped], cut: int
) -> None:
    data = b"".join(map(encode_record, events))
    reader, found = RecordReader(), []
    for start in range(0, len(data), cut):
        found += reader.feed(data[start : start + cut])
    assert found == events


def test_the_longest_message_is_a_record_and_a_longer_one_is_refused_by_its_length() -> None:
    longest = Deliver("t" * 128, NODE, 1 << 63, 1 << 62, bytes(MAX_DATA_BYTES), "", 0, 32)
    assert RecordReader().feed(encode_record(longest)) == [longest]
    with pytest.raises(PeerViolation):
        RecordReader().feed((MAX_RECORD_BYTES + 1).to_bytes(4, "big"))


@given(st.binary(max_size=60))
def test_a_node_that_sends_noise_is_refused_or_awaited(noise: bytes) -> None:
    with suppress(PeerViolation):
        RecordReader().feed(noise)


def test_a_record_that_is_no_map_is_refused() -> None:
    body = cbor.encode([1])
    with pytest.raises(PeerViolation, match="expected a map"):
        RecordReader().feed(len(body).to_bytes(4, "big") + body)
