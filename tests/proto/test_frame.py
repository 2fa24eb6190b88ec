"""Frames: the reference's vectors, the order of refusals, any cut, any noise."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.errors import LocalMisuse, PeerViolation
from overlay_edge.proto.frame import (
    CHUNK_BYTES,
    HEADER,
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    START,
    Frame,
    FrameDecoder,
    Skipped,
    decode_object,
    encode,
)
from overlay_edge.proto.pool import Pool, Share

VECTORS = json.loads((Path(__file__).parents[1] / "oap1-vectors.json").read_text())


def header(
    length: int = 38, version: int = 1, flags: int = 1, cap_len: int = 0, corr_id: int = 5
) -> bytes:
    return HEADER.pack(length, version, flags, 0, 1, bytes(16), cap_len, corr_id)


def refusal_of(data: bytes) -> str:
    decoder = FrameDecoder()
    decoder.feed(data)
    with pytest.raises(PeerViolation) as caught:
        decoder.next_frame()
    return caught.value.name


def all_frames(decoder: FrameDecoder) -> list[Frame]:
    found = []
    while frame := decoder.next_frame():
        found.append(frame)
    return found


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    flags = draw(st.integers(0, 0xFF))
    cap = draw(st.binary(max_size=40)) if flags & START else b""
    return Frame(
        flags=flags,
        code=draw(st.integers(0, 0xFFFF)),
        app=draw(st.integers(0, 0xFFFF)),
        tenant=draw(st.integers(0, 2**128 - 1)),
        corr_id=draw(st.integers(0, 2**64 - 1)),
        cap=cap,
        payload=draw(st.binary(max_size=200)),
    )


@pytest.mark.parametrize("name", VECTORS["accept"])
def test_a_frame_of_the_reference_is_read_and_printed_back_to_the_byte(name: str) -> None:
    data = bytes.fromhex(VECTORS["accept"][name])
    decoder = FrameDecoder()
    decoder.feed(data)
    frame = decoder.next_frame()
    assert frame is not None
    assert encode(frame) == data


@pytest.mark.parametrize("name", VECTORS["refuse"])
def test_a_frame_the_reference_refuses_is_refused_by_the_same_name(name: str) -> None:
    vector = VECTORS["refuse"][name]
    assert refusal_of(bytes.fromhex(vector["hex"])) == vector["error"]


# Each header breaks its own rule and every later one: the first in the contract's order wins.
@pytest.mark.parametrize(
    ("data", "name"),
    [
        (header(length=0, version=9, flags=0x100, cap_len=9), "BadFlags"),
        (header(length=0, version=9, flags=1, cap_len=9), "BadVersion"),
        (header(length=0, flags=1, cap_len=9), "FrameTooLarge"),
        (header(length=MAX_FRAME_BYTES + 1, flags=1, cap_len=9), "FrameTooLarge"),
        (header(length=37, flags=1, cap_len=9), "CapOnNonStart"),
        (header(length=37, flags=9, cap_len=9), "TruncatedHeader"),
        (header(length=40, flags=9, cap_len=3), "CapOutOfBounds"),
    ],
)
def test_refusals_come_in_the_order_of_the_contract(data: bytes, name: str) -> None:
    assert refusal_of(data) == name


def test_a_long_frame_is_refused_by_its_header_alone() -> None:
    decoder = FrameDecoder()
    decoder.feed(header(length=MAX_FRAME_BYTES + 1))
    with pytest.raises(PeerViolation, match=r"frame of 1048577 bytes") as caught:
        decoder.next_frame()
    assert caught.value.code == 413
    assert decoder.buffered == 0


def test_the_longest_frame_is_accepted() -> None:
    frame = Frame(flags=1, payload=b"x" * (MAX_FRAME_BYTES - HEADER_BYTES))
    decoder = FrameDecoder()
    decoder.feed(encode(frame))
    assert decoder.next_frame() == frame


def test_good_frames_before_a_bad_one_are_delivered() -> None:
    good = Frame(flags=1, payload=b"good")
    decoder = FrameDecoder()
    decoder.feed(encode(good) * 2 + header(version=2))
    assert decoder.next_frame() == good
    assert decoder.next_frame() == good
    with pytest.raises(PeerViolation):
        decoder.next_frame()


def test_nothing_behind_a_broken_envelope_is_believed() -> None:
    decoder = FrameDecoder()
    decoder.feed(header(version=2))
    with pytest.raises(PeerViolation):
        decoder.next_frame()
    decoder.feed(encode(Frame(flags=1)))
    with pytest.raises(PeerViolation, match="version 2"):
        decoder.next_frame()
    assert decoder.buffered == 0


def test_a_decoder_says_how_many_bytes_it_still_needs() -> None:
    data = encode(Frame(flags=1, payload=b"12345"))
    decoder = FrameDecoder()
    assert decoder.missing == HEADER_BYTES
    decoder.feed(data[:40])
    assert decoder.next_frame() is None
    assert decoder.missing == 3


@given(st.lists(frames(), max_size=6), st.data())
def test_any_cut_of_the_bytes_gives_the_same_frames(sent: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(map(encode, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    decoder = FrameDecoder()
    got = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        decoder.feed(stream[start:end])
        got += all_frames(decoder)
    assert got == sent
    assert decoder.buffered == 0


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_noise_is_refused_or_awaited_and_never_held_beyond_a_frame(pieces: list[bytes]) -> None:
    decoder = FrameDecoder()
    for piece in pieces:
        decoder.feed(piece)
        try:
            all_frames(decoder)
        except PeerViolation:
            assert decoder.buffered == 0
        assert decoder.buffered < MAX_FRAME_BYTES + 300


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 3),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF),
)
def test_every_header_is_judged_by_name_or_awaited(
    length: int, version: int, flags: int, cap_len: int
) -> None:
    decoder = FrameDecoder()
    decoder.feed(header(length, version, flags, cap_len))
    try:
        frame = decoder.next_frame()
    except PeerViolation as violation:
        assert violation.name in {
            "BadFlags",
            "BadVersion",
            "FrameTooLarge",
            "CapOnNonStart",
            "TruncatedHeader",
            "CapOutOfBounds",
        }
    else:
        assert (frame is None) == (length > HEADER_BYTES)


@pytest.mark.parametrize(
    "frame",
    [
        Frame(flags=0x100),
        Frame(flags=1, cap=b"x"),
        Frame(flags=9, cap=b"x" * 65536),
        Frame(flags=1, payload=b"x" * MAX_FRAME_BYTES),
    ],
    ids=["unknown flag", "cap without START", "long cap", "long frame"],
)
def test_we_never_print_what_a_decoder_would_refuse(frame: Frame) -> None:
    with pytest.raises(LocalMisuse):
        encode(frame)


@pytest.mark.parametrize("payload", [b"", b"[]", b"7", b"\xff", b"{", b"[" * 100_000])
def test_what_is_no_json_object_is_a_violation(payload: bytes) -> None:
    with pytest.raises(PeerViolation, match="HELLO: expected a JSON object"):
        decode_object(payload, "HELLO")


def test_a_long_frame_draws_on_the_pool_while_it_is_read_and_gives_it_back() -> None:
    pool = Pool(1 << 20)
    decoder = FrameDecoder(Share(pool))
    data = encode(Frame(flags=1, payload=bytes(500_000)))
    decoder.feed(data[:1000])
    assert decoder.next_frame() is None
    assert pool.used_bytes == len(data)
    decoder.feed(data[1000:])
    assert decoder.next_frame() is not None
    assert pool.used_bytes == 0


def test_a_chunk_never_needs_the_pool() -> None:
    decoder = FrameDecoder(Share(Pool(0)))
    frame = Frame(flags=9, cap=b"c" * 4096, payload=bytes(CHUNK_BYTES))
    data = encode(frame)
    decoder.feed(data[:-1])
    assert decoder.next_frame() is None
    assert decoder.take_skipped() is None
    decoder.feed(data[-1:])
    assert decoder.next_frame() == frame


@given(st.lists(st.integers(1, 300_000), max_size=6))
def test_a_frame_without_room_is_thrown_away_however_it_is_cut_and_the_next_is_read(
    cuts: list[int],
) -> None:
    decoder = FrameDecoder(Share(Pool(100_000)))
    long = Frame(flags=9, app=7, tenant=3, corr_id=5, payload=bytes(200_000))
    after = Frame(flags=1, payload=b"after")
    stream = encode(long) + encode(after)
    got: list[Frame] = []
    skipped: list[Skipped] = []
    start = 0
    for end in sorted({40, *cuts, len(stream)}):
        decoder.feed(stream[start:end])
        start = max(start, min(end, len(stream)))
        got += all_frames(decoder)
        if (found := decoder.take_skipped()) is not None:
            skipped.append(found)
    assert got == [after]
    assert skipped == [Skipped(9, 7, 3, 5)]
    assert decoder.buffered == 0


def test_a_closed_decoder_gives_back_what_it_drew() -> None:
    pool = Pool(1 << 20)
    decoder = FrameDecoder(Share(pool))
    decoder.feed(encode(Frame(flags=1, payload=bytes(500_000)))[:-1])
    assert decoder.next_frame() is None
    decoder.close()
    assert (pool.used_bytes, decoder.buffered) == (0, 0)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=5), st.data())
def test_what_is_half_here_can_be_dropped_at_any_moment_and_the_next_frame_is_read(
    sizes: list[int], data: st.DataObject
) -> None:
    sent = [Frame(25, app=7, corr_id=n + 1, payload=b"p" * size) for n, size in enumerate(sizes)]
    wire = b"".join(map(encode, sent))
    at = data.draw(st.integers(0, len(wire)))
    decoder = FrameDecoder(Share(Pool(1 << 20)))
    decoder.feed(wire[:at])
    before = all_frames(decoder)
    held = decoder.buffered
    assert decoder.drop("purged")
    dropped = decoder.take_skipped()
    assert (dropped is not None) == (held >= HEADER_BYTES)
    decoder.feed(wire[at:])
    found = before + all_frames(decoder)
    missing = [frame for frame in sent if frame not in found]
    assert [(f.corr_id, "purged") for f in missing] == (
        [(dropped.corr_id, dropped.why)] if dropped else []
    )
    assert decoder.buffered == 0


def test_a_dropped_frame_gives_back_what_it_drew() -> None:
    pool = Pool(1 << 20)
    decoder = FrameDecoder(Share(pool))
    decoder.feed(encode(Frame(25, app=7, payload=b"secret" * 50_000))[:200_000])
    assert decoder.next_frame() is None
    assert pool.used_bytes
    assert decoder.drop("purged")
    assert (pool.used_bytes, decoder.buffered) == (0, 0)


def test_a_dropped_frame_is_overwritten_where_it_lies() -> None:
    decoder = FrameDecoder()
    decoder.feed(encode(Frame(25, app=7, payload=b"secret"))[:-1])
    with memoryview(decoder._buffer) as view:  # while somebody looks, its size cannot change
        with pytest.raises(BufferError):
            decoder.drop("purged")
        assert bytes(view) == bytes(len(view))


def test_whole_frames_that_nobody_took_are_not_dropped_silently() -> None:
    decoder = FrameDecoder()
    decoder.feed(encode(Frame(25, app=7, payload=b"x")) * 2)
    assert not decoder.drop("purged")


def test_a_frame_of_the_protocol_itself_is_let_come() -> None:
    decoder = FrameDecoder()
    wire = encode(Frame(4, payload=b'{"ping":1}'))
    decoder.feed(wire[:-1])
    assert decoder.drop("purged")
    decoder.feed(wire[-1:])
    assert decoder.next_frame() is not None
