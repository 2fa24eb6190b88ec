"""CBOR: one encoding for each value, and no bytes that hurt."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from overlay_edge.errors import LocalMisuse, PeerViolation
from overlay_edge.proto.cbor import MAX_DEPTH, MAX_ITEMS, decode, encode

LEAVES = (
    st.integers(-(1 << 64), (1 << 64) - 1) | st.binary() | st.text() | st.booleans() | st.none()
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(max_size=30) | st.binary(max_size=30), inner, max_size=5)
    ),
    max_leaves=30,
)


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(VALUES.filter(lambda value: depth(value) <= MAX_DEPTH))
def test_what_is_written_is_read_back(value: object) -> None:
    assert decode(encode(value)) == value


@given(st.binary(max_size=200))
@example(b"\xa2\x61a\x01\x61b\x02")
def test_noise_is_refused_or_is_the_one_form_of_what_it_says(noise: bytes) -> None:
    try:
        value = decode(noise)
    except PeerViolation as refused:
        assert refused.name == "BadCbor"
    else:
        assert encode(value) == noise


@given(VALUES.filter(lambda value: depth(value) <= MAX_DEPTH), st.data())
def test_one_changed_byte_is_refused_or_another_value(value: object, data: st.DataObject) -> None:
    raw = bytearray(encode(value))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        other = decode(bytes(raw))
    except PeerViolation:
        return
    assert encode(other) == bytes(raw)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ("", "cut short"),
        ("18", "cut short"),
        ("1817", "longer form"),
        ("190001", "longer form"),
        ("1a0000ffff", "longer form"),
        ("1b00000000ffffffff", "longer form"),
        ("5803aabbcc", "longer form"),
        ("43aabb", "cut short"),
        ("9f01ff", "indefinite"),
        ("5f41aaff", "indefinite"),
        ("1c", "indefinite"),
        ("61ff", "not UTF-8"),
        ("f93c00", "a float"),
        ("f7", "a simple value"),
        ("c100", "a tag"),
        ("0102", "1 bytes behind"),
        ("a2616201616102", "out of order"),
        ("a2616101616102", "one twice"),
        ("a10102", "neither text nor bytes"),
        ("a1f601", "neither text nor bytes"),
        ("9b00ffffffffffffff", "cut short"),
        ("bb00ffffffffffffff", "cut short"),
        ("81" * 7 + "00", "deeper than 6"),
    ],
)
def test_what_is_not_the_subset_is_refused(raw: str, why: str) -> None:
    with pytest.raises(PeerViolation, match=why):
        decode(bytes.fromhex(raw))


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        (0, "00"),
        (23, "17"),
        (24, "1818"),
        (256, "190100"),
        (1 << 32, "1b0000000100000000"),
        (-1, "20"),
        (-500, "3901f3"),
        (True, "f5"),
        (None, "f6"),
        (b"\x01", "4101"),
        ("IETF", "6449455446"),
        ([1, [2, 3]], "8201820203"),
        ({"b": 1, "a": 2, "aa": 3}, "a3616102616201626161" + "03"),
    ],
)
def test_the_examples_of_the_standard(value: object, raw: str) -> None:
    assert encode(value).hex() == raw
    assert decode(bytes.fromhex(raw)) == value


def test_many_small_values_are_refused_before_they_cost_much() -> None:
    with pytest.raises(PeerViolation, match="more than"):
        decode(b"\x99" + (MAX_ITEMS + 1).to_bytes(2, "big") + bytes(MAX_ITEMS + 1))


@pytest.mark.parametrize("value", [1.5, {1: 2}, {"a": {1}}, 1 << 64, -(1 << 64) - 1])
def test_our_own_misuse_raises(value: object) -> None:
    with pytest.raises(LocalMisuse):
        encode(value)


def test_too_deep_is_our_own_misuse() -> None:
    value: object = 1
    for _ in range(MAX_DEPTH + 1):
        value = [value]
    with pytest.raises(LocalMisuse, match="deeper"):
        encode(value)
