"""Sources: every byte once and in order, whatever is asked for at a time."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.errors import TransportError
from overlay_edge.proto.flow import Source
from overlay_edge.proto.frame import CHUNK_BYTES
from overlay_edge.sources import BytesSource, EchoSource, FileSource

limits = st.lists(st.integers(1, 100), min_size=1, max_size=10)


def drain(source: Source, limits: list[int]) -> list[bytes]:
    """Read to the end, with one limit after the other."""
    pieces: list[bytes] = []
    for step in range(10_000):
        taken = source.read(limit := limits[step % len(limits)])
        assert taken is not None
        assert len(taken[0]) <= limit
        pieces.append(taken[0])
        if taken[1]:
            return pieces
        assert taken[0]  # no progress and no end would spin
    raise AssertionError("no end")


# -- files ------------------------------------------------------------------------------


@given(st.binary(max_size=500), limits)
def test_a_file_is_sent_whole_and_its_progress_told(data: bytes, limits: list[int]) -> None:
    told: list[int] = []
    pieces = drain(FileSource(io.BytesIO(data), len(data), told.append), limits)
    assert b"".join(pieces) == data
    assert told[-1] == len(data)
    assert told == sorted(told)


@pytest.mark.parametrize("have", [0, 5, 9])
def test_a_file_that_is_shorter_than_announced_is_an_error_and_not_an_end(have: int) -> None:
    source = FileSource(io.BytesIO(bytes(have)), 10, None)
    if have:
        assert source.read(100) == (bytes(have), False)
    with pytest.raises(TransportError, match=f"the file ended after {have} of 10 bytes"):
        source.read(100)


def test_a_file_that_grew_is_sent_as_long_as_it_was_announced() -> None:
    file = io.BytesIO(b"0123456789")
    assert FileSource(file, 4, None).read(100) == (b"0123", True)
    assert file.tell() == 4


def test_an_empty_file_ends_at_once() -> None:
    assert FileSource(io.BytesIO(b"not asked for"), 0, None).read(100) == (b"", True)


def test_a_file_that_gives_less_than_asked_is_read_on() -> None:
    class Pipe(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(3, size if size is not None else 3))

    assert drain(FileSource(Pipe(b"0123456789"), 10, None), [100]) == [
        b"012",
        b"345",
        b"678",
        b"9",
    ]


def test_the_file_is_its_callers_to_close() -> None:
    file = io.BytesIO(b"x")
    FileSource(file, 1, None).close()
    assert not file.closed


# -- bytes ------------------------------------------------------------------------------


@given(st.binary(max_size=500), limits)
def test_bytes_are_sent_whole(data: bytes, limits: list[int]) -> None:
    source = BytesSource(data)
    assert b"".join(drain(source, limits)) == data
    source.close()


# -- echoes -----------------------------------------------------------------------------


def test_an_echo_waits_for_bytes_and_ends_only_when_it_is_whole() -> None:
    source = EchoSource(lambda amount: None)
    assert source.read(9) is None
    source.push(b"a", is_last=False)
    assert source.read(9) == (b"a", False)
    assert source.read(9) is None
    source.push(b"", is_last=True)
    assert source.read(9) == (b"", True)


def test_a_long_piece_leaves_in_chunks() -> None:
    source = EchoSource(lambda amount: None)
    source.push(bytes(2 * CHUNK_BYTES + 1), is_last=True)
    assert [len(piece) for piece in drain(source, [1 << 20])] == [CHUNK_BYTES, CHUNK_BYTES, 1]


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=8), limits)
def test_an_echo_gives_back_every_byte_and_tells_each_once(
    pushed: list[bytes], limits: list[int]
) -> None:
    left: list[int] = []
    source = EchoSource(left.append)
    for index, data in enumerate(pushed):
        source.push(data, is_last=index == len(pushed) - 1)
    whole = b"".join(pushed)
    assert source.held == len(whole)
    assert b"".join(drain(source, limits)) == whole
    assert (sum(left), source.held) == (len(whole), 0)


def test_who_is_told_that_bytes_left_finds_them_gone() -> None:
    held: list[int] = []
    source = EchoSource(lambda amount: held.append(source.held))
    source.push(b"12345", is_last=True)
    drain(source, [2])
    assert held == [3, 1, 0]


def test_a_closed_echo_still_knows_what_was_never_given_back() -> None:
    told: list[int] = []
    source = EchoSource(told.append)
    source.push(b"12345", is_last=False)
    source.read(2)
    source.close()
    source.close()
    assert (source.held, told, source.read(9)) == (3, [2], None)
