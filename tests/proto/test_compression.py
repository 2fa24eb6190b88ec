"""COMP payloads: inflated under both ceilings, and nothing else is believed."""

import os

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.errors import PeerViolation
from overlay_edge.proto.compression import MAX_RATIO, inflate
from overlay_edge.proto.frame import APP_E2E, COMP, REQ, Frame


def comp(payload: bytes, flags: int = REQ | COMP) -> Frame:
    return Frame(flags=flags, payload=payload)


def test_a_plain_payload_is_left_alone() -> None:
    assert inflate(Frame(flags=REQ, payload=b"(plain)")) == b"(plain)"


def test_a_compressed_payload_is_inflated() -> None:
    data = os.urandom(1000) * 3
    assert inflate(comp(zstd.compress(data))) == data


def test_an_end_to_end_payload_is_never_inflated() -> None:
    payload = zstd.compress(b"secret")
    assert inflate(comp(payload, REQ | COMP | APP_E2E)) == payload


def test_more_than_ten_times_its_size_is_refused() -> None:
    with pytest.raises(PeerViolation) as caught:
        inflate(comp(zstd.compress(b"x" * 10_000)))
    assert (caught.value.code, caught.value.token) == (413, "ratio_cap")


def test_exactly_ten_times_its_size_is_accepted() -> None:
    random = os.urandom(100)
    for copies in range(1, 40):
        payload = zstd.compress(random + b"x" * copies * 40)
        size = 100 + copies * 40
        if size <= MAX_RATIO * len(payload):
            assert len(inflate(comp(payload))) == size
        else:
            with pytest.raises(PeerViolation):
                inflate(comp(payload))


def test_more_than_a_frame_is_refused_whatever_the_ratio() -> None:
    payload = zstd.compress(os.urandom(1 << 18) * 5)
    assert len(payload) * MAX_RATIO > 5 << 18
    with pytest.raises(PeerViolation, match="inflate to more than 1048576"):
        inflate(comp(payload))


def test_a_bomb_is_stopped_while_it_inflates() -> None:
    compressor = zstd.ZstdCompressor()
    bomb = compressor.compress(bytes(64 << 20)) + compressor.flush()
    with pytest.raises(PeerViolation, match="inflate to more than"):
        inflate(comp(bomb))


def test_a_stream_that_asks_for_a_large_window_is_refused() -> None:
    options = {zstd.CompressionParameter.window_log: 27}
    compressor = zstd.ZstdCompressor(options=options)
    payload = compressor.compress(os.urandom(1000)) + compressor.flush()
    with pytest.raises(PeerViolation, match="window"):
        inflate(comp(payload))


def test_a_stream_of_unknown_length_at_the_usual_level_is_accepted() -> None:
    data = os.urandom(5000)
    compressor = zstd.ZstdCompressor()
    assert inflate(comp(compressor.compress(data) + compressor.flush())) == data


@pytest.mark.parametrize(
    "payload",
    [b"", b"not zstd", zstd.compress(b"cut")[:-1], zstd.compress(b"one") + zstd.compress(b"two")],
    ids=["empty", "noise", "cut", "two"],
)
def test_what_is_not_exactly_one_zstd_frame_is_refused(payload: bytes) -> None:
    with pytest.raises(PeerViolation) as caught:
        inflate(comp(payload))
    assert (caught.value.name, caught.value.code) == ("BadCompression", 400)


@given(st.binary(max_size=200), st.booleans())
def test_noise_raises_nothing_but_a_documented_refusal(noise: bytes, magic: bool) -> None:
    payload = (b"\x28\xb5\x2f\xfd" if magic else b"") + noise
    try:
        assert len(inflate(comp(payload))) <= MAX_RATIO * len(payload)
    except PeerViolation as violation:
        assert violation.name in {"RatioCap", "BadCompression"}
