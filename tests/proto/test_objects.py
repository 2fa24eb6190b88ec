"""Object requests: what is read of their heads, and what is refused without ending the session."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.errors import Refused
from overlay_edge.proto.frame import CHUNK_BYTES
from overlay_edge.proto.objects import (
    MAX_REQUEST_BYTES,
    MAX_SIZE,
    Get,
    Head,
    Put,
    describe,
    not_found,
    read_request,
    stored,
)

ADDR = "b3:" + "0123456789abcdef" * 4


def printed(**members: object) -> bytes:
    return json.dumps(members).encode()


def refusal_of(payload: bytes) -> str:
    with pytest.raises(Refused) as caught:
        read_request(payload)
    assert (caught.value.code, caught.value.token) == (400, "bad_request")
    return str(caught.value)


@pytest.mark.parametrize("payload", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 4000])
def test_a_head_that_is_no_object_is_refused(payload: bytes) -> None:
    assert refusal_of(payload) == "objects request: expected a JSON object"


def test_the_longest_head_is_read_and_one_byte_more_is_refused() -> None:
    longest = printed(op="get", addr=ADDR).ljust(MAX_REQUEST_BYTES)
    assert read_request(longest) == Get(ADDR)
    assert refusal_of(longest + b" ") == "request of 4097 bytes, limit 4096"


@pytest.mark.parametrize("op", [None, "", "GET", "delete", 1, True, ["get"], {"get": 1}])
def test_an_operation_nobody_knows_is_refused_with_those_we_know(op: object) -> None:
    assert refusal_of(printed(op=op, addr=ADDR, size=1)) == "op, expected get, put or head"


@pytest.mark.parametrize(
    "addr",
    [
        None,
        "",
        7,
        [ADDR],
        ADDR[:-1],
        ADDR + "0",
        ADDR + "\n",
        " " + ADDR,
        ADDR.upper(),
        "B3:" + ADDR[3:],
        "b3:" + ADDR[3:].upper(),
        "b3:" + "g" * 64,
        "b3:" + "\N{ARABIC-INDIC DIGIT ONE}" * 64,
        ADDR[3:],
        "b3:../" + "0" * 61,
    ],
    ids=repr,
)
@pytest.mark.parametrize("op", ["get", "head"])
def test_an_address_is_64_lower_case_hex_digits_and_nothing_else(op: str, addr: object) -> None:
    found = refusal_of(printed(op=op, addr=addr))
    assert found == "addr, expected b3: and 64 lower-case hex digits"


@pytest.mark.parametrize(
    "size", [None, True, False, -1, 1.0, 1e3, "5", [5], MAX_SIZE + 1, 1 << 90], ids=repr
)
def test_a_size_is_a_whole_number_that_every_reader_has_exactly(size: object) -> None:
    assert refusal_of(printed(op="put", size=size)).startswith("put: size, expected a whole")


def test_a_size_of_thousands_of_digits_is_refused() -> None:
    refusal_of(b'{"op":"put","size":' + b"9" * 4000 + b"}")


@pytest.mark.parametrize("size", [0, 1, MAX_SIZE])
def test_every_size_that_is_one_is_read(size: int) -> None:
    assert read_request(printed(op="put", size=size)) == Put(size, None)


def test_an_upload_may_name_its_address_but_not_a_wrong_one() -> None:
    assert read_request(printed(op="put", size=5, addr=ADDR)) == Put(5, ADDR)
    assert read_request(printed(op="put", size=5, addr=None)) == Put(5, None)


@pytest.mark.parametrize(
    "topic", ["a", "site/heat", "wärme im keller", "x" * 128, "\U0001f525" * 128]
)
def test_put_may_have_a_topic(topic: str) -> None:
    assert read_request(printed(op="put", size=5, topic=topic)) == Put(5, None, topic)
    assert read_request(printed(op="put", size=5, topic=None, what="ever")) == Put(5, None)


@pytest.mark.parametrize("topic", ["", 7, True, ["a"], {}, "x" * 129, "a\nb", "\x00", "\ud800"])
def test_a_topic_of_another_kind_is_refused(topic: object) -> None:
    said = refusal_of(printed(op="put", size=5, topic=topic))
    assert said == "put: topic, expected 1 to 128 printable characters"
    for addr in ("", False, 0, ADDR.upper()):
        assert refusal_of(printed(op="put", size=5, addr=addr)).startswith("addr, expected")


def test_members_of_a_later_version_are_ignored() -> None:
    assert read_request(printed(op="head", addr=ADDR, later={"x": [1]})) == Head(ADDR)


@given(
    st.dictionaries(
        st.sampled_from(["op", "addr", "size", "more"]),
        st.sampled_from(["get", "head", "put", ADDR, ADDR.upper()])
        | st.integers()
        | st.booleans()
        | st.none()
        | st.floats()
        | st.text(max_size=80),
    )
)
def test_any_head_is_read_within_bounds_or_refused(members: dict[str, object]) -> None:
    try:
        request = read_request(printed(**members))
    except Refused as refusal:
        assert (refusal.code, refusal.token) == (400, "bad_request")
        return
    assert request.addr in (None, ADDR)
    if isinstance(request, Put):
        assert type(request.size) is int
        assert 0 <= request.size <= MAX_SIZE


@given(st.binary(max_size=120))
def test_noise_is_refused(noise: bytes) -> None:
    refusal_of(noise)


def test_answers_are_the_contracts_in_its_order() -> None:
    assert describe(ADDR, 5) == f'{{"addr":"{ADDR}","size":5,"chunk":{CHUNK_BYTES}}}'.encode()
    assert stored(ADDR) == f'{{"addr":"{ADDR}"}}'.encode()


def test_what_is_not_here_is_refused_by_its_address() -> None:
    refusal = not_found(ADDR)
    assert (refusal.code, refusal.token, str(refusal)) == (404, "not_found", f"{ADDR} is not here")
