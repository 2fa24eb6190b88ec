"""The contract of every stream, over each transport there is."""

import pytest

from overlay_edge.net.stream import StreamInfo, address_of
from tests.support.wire import linked

CHUNK = 65_574


async def test_bytes_arrive_whole_and_in_order_both_ways() -> None:
    async with linked() as (here, there):
        there.up.write(b"one")
        there.up.write(b"two")
        here.up.write(b"three")
        await here.until(lambda r: len(r.received) == 6)
        await there.until(lambda r: len(r.received) == 5)
        assert bytes(here.received) == b"onetwo"
        assert bytes(there.received) == b"three"


async def test_a_stream_is_writable_until_something_waits_and_says_when_it_has_left() -> None:
    async with linked() as (here, there):
        there.up.pause_reading()
        sent = 0
        while here.up.is_writable:
            here.up.write(bytes(CHUNK))
            sent += CHUNK
            assert sent < 64 << 20
        there.up.resume_reading()
        await there.until(lambda r: len(r.received) == sent)
        await here.until(lambda r: r.writable)
        assert here.up.is_writable


async def test_what_was_written_before_close_arrives() -> None:
    async with linked() as (here, there):
        here.up.write(b"last words")
        here.up.close()
        await there.until(lambda r: r.closed)
        assert bytes(there.received) == b"last words"
        assert there.closed == [""]
        await here.until(lambda r: r.closed)
        assert here.closed == [""]


async def test_a_paused_stream_hands_over_nothing_until_it_is_resumed() -> None:
    async with linked() as (here, there):
        here.up.pause_reading()
        here.up.pause_reading()
        there.up.write(b"wait")
        here.up.write(b"marker")
        await there.until(lambda r: r.received)
        assert not here.received
        here.up.resume_reading()
        here.up.resume_reading()
        await here.until(lambda r: r.received)
        assert bytes(here.received) == b"wait"


@pytest.mark.parametrize(
    ("group", "pq"),
    [("X25519MLKEM768", "hybrid"), ("SecP256r1MLKEM768", "hybrid"), ("x25519", "classical")],
)
def test_a_group_with_a_post_quantum_half_is_hybrid(group: str, pq: str) -> None:
    assert StreamInfo("127.0.0.1:1", group, "", "").pq == pq


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (("127.0.0.1", 5), "127.0.0.1:5"),
        (("::1", 5, 0, 0), "[::1]:5"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_a_socket_name_is_written_as_people_write_it(name: object, address: str) -> None:
    assert address_of(name) == address
