"""Small messages: control events and refusals, read from whatever a peer may write."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.errors import (
    EdgeError,
    LocalMisuse,
    ObjectGone,
    PeerViolation,
    Refused,
    TransportError,
)
from overlay_edge.proto.flow import UNLIMITED
from overlay_edge.proto.frame import END, EVENT, RESP, Frame, encode
from overlay_edge.proto.message import (
    MAX_MESSAGE_CHARS,
    MAX_TOKEN_CHARS,
    Credit,
    Goaway,
    Ping,
    Pong,
    Told,
    as_refused,
    control_frame,
    error_frame,
    read_control,
    read_count,
    read_refusal,
    read_words,
)

NO_COUNTS = [-1, True, False, 1.0, "9", None, [], {}, UNLIMITED + 1, 1 << 90]


# -- control events ---------------------------------------------------------------------


# Python converts no number of 5000 digits, and no nesting of 5000 objects.
@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"7",
        b"{",
        b"\xff\xfe",
        b'{"ping":' * 5000,
        b'{"ping":' + b"9" * 5000 + b"}",
    ],
    ids=["empty", "list", "number", "half", "no UTF-8", "deep", "long"],
)
def test_a_control_event_that_is_no_object_is_a_violation(payload: bytes) -> None:
    with pytest.raises(PeerViolation, match="control event: expected a JSON object"):
        read_control(payload)


@pytest.mark.parametrize("key", ["credit", "ping", "pong"])
@pytest.mark.parametrize("value", NO_COUNTS, ids=repr)
def test_a_number_that_is_no_count_is_no_control_event(key: str, value: object) -> None:
    assert read_control(json.dumps({key: value}).encode()) is None


@pytest.mark.parametrize("kind", [Credit, Ping, Pong])
@pytest.mark.parametrize("count", [0, 1, UNLIMITED])
def test_every_count_is_read(kind: type[Credit | Ping | Pong], count: int) -> None:
    frame = control_frame({kind.__name__.lower(): count}, corr_id=5)
    assert (frame.flags, frame.app, frame.corr_id) == (EVENT, 0, 5)
    assert read_control(frame.payload) == kind(count)


@pytest.mark.parametrize("goaway", [None, 1, "x", ["x"], True])
def test_a_goodbye_that_is_no_object_is_none(goaway: object) -> None:
    assert read_control(json.dumps({"goaway": goaway}).encode()) is None


def test_a_goodbye_without_a_word_is_still_one() -> None:
    assert read_control(b'{"goaway":{}}') == Goaway("", 0)
    assert read_control(b'{"goaway":{"reason":7,"retry_after_ms":-1}}') == Goaway("", 0)


def test_the_reason_of_a_goodbye_is_cut() -> None:
    body = {"goaway": {"reason": "r" * 999, "retry_after_ms": 9}}
    assert read_control(control_frame(body).payload) == Goaway("r" * MAX_TOKEN_CHARS, 9)


@given(st.binary(max_size=100))
def test_noise_is_no_control_event(noise: bytes) -> None:
    try:
        found = read_control(noise)
    except PeerViolation as violation:
        assert violation.name == "BadJson"
    else:
        assert found is None


# -- refusals ---------------------------------------------------------------------------


def test_a_refusal_ends_its_stream_and_echoes_it() -> None:
    frame = error_frame(Refused(404, "not_found", "no"), app=1, tenant=2, corr_id=3)
    assert frame == Frame(
        RESP | END, 404, app=1, tenant=2, corr_id=3, payload=b'{"error":"not_found","message":"no"}'
    )


def test_a_long_reason_is_cut_before_it_is_sent_and_after_it_came() -> None:
    frame = error_frame(Refused(400, "bad_request", "m" * 9999))
    assert len(json.loads(frame.payload)["message"]) == MAX_MESSAGE_CHARS
    assert len(encode(frame)) < 1024
    long = json.dumps({"error": "e" * 9999, "message": "m" * 9999}).encode()
    refusal = read_refusal(400, long)
    assert (refusal.token, str(refusal)) == ("e" * MAX_TOKEN_CHARS, "m" * MAX_MESSAGE_CHARS)


@pytest.mark.parametrize("payload", [b"", b"not json", b"[]", b"{}", b'{"error":7,"message":[]}'])
def test_a_refusal_without_words_still_refuses(payload: bytes) -> None:
    refusal = read_refusal(503, payload)
    assert (refusal.code, refusal.token, str(refusal)) == (503, "refused", "no reason given")
    assert refusal.retry_after_ms is None


@pytest.mark.parametrize("wait", NO_COUNTS, ids=repr)
def test_a_wait_that_is_no_count_is_none(wait: object) -> None:
    payload = json.dumps({"error": "busy", "retry_after_ms": wait}).encode()
    assert read_refusal(503, payload).retry_after_ms is None


@given(
    st.integers(400, 599),
    st.text(min_size=1, max_size=MAX_TOKEN_CHARS),
    st.text(min_size=1, max_size=MAX_MESSAGE_CHARS),
    st.none() | st.integers(0, UNLIMITED),
)
def test_a_refusal_is_read_as_it_was_sent(
    code: int, token: str, message: str, wait: int | None
) -> None:
    frame = error_frame(Refused(code, token, message, retry_after_ms=wait))
    there = read_refusal(frame.code, frame.payload)
    assert (there.code, there.token, str(there), there.retry_after_ms) == (
        code,
        token,
        message,
        wait,
    )


def test_what_the_peer_told_us_is_not_answered_but_carried_on() -> None:
    told = Told(Frame(RESP | END, 503, payload=b'{"error":"busy","message":"full"}'))
    assert (told.name, told.code, told.token, str(told)) == ("Told", 503, "busy", "full")


@pytest.mark.parametrize(
    ("error", "code", "token"),
    [
        (Refused(413, "too_large", "x"), 413, "too_large"),
        (PeerViolation("RatioCap", "x", code=413, token="ratio_cap"), 413, "ratio_cap"),
        (ObjectGone("b3:… was wiped"), 404, "not_found"),
        (TransportError("/secret/path: gone"), 500, "internal"),
        (LocalMisuse("a bug"), 500, "internal"),
        (EdgeError("anything"), 500, "internal"),
    ],
)
def test_every_error_has_a_code_and_a_token_for_the_peer(
    error: EdgeError, code: int, token: str
) -> None:
    refusal = as_refused(error)
    assert (refusal.code, refusal.token) == (code, token)


def test_our_own_errors_tell_a_peer_nothing_of_us() -> None:
    assert "secret" not in str(as_refused(TransportError("/secret/path: gone")))


@pytest.mark.parametrize("value", NO_COUNTS, ids=repr)
def test_what_is_no_count_is_none(value: object) -> None:
    assert read_count(value) is None


@pytest.mark.parametrize("value", [7, None, b"x", ["x"], {}])
def test_what_is_no_text_has_no_words(value: object) -> None:
    assert read_words(value, 9) == ""
