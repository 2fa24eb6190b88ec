"""Flight: any chunks in, for any number of readers, and never more than the queue."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.bridge.flight import QUEUE_CHUNKS, Flight, Waiter, begin
from overlay_edge.bridge.neighbour import Failed
from overlay_edge.errors import Refused
from overlay_edge.proto.frame import CHUNK_BYTES
from overlay_edge.proto.retry import Outcome
from tests.support.neighbours import addr_of, until


class Steps:
    """A body that comes in steps of a given size."""

    def __init__(self, data: bytes, step: int) -> None:
        self.size = len(data)
        self.taken = 0
        self._data = data
        self._step = step

    async def read(self, limit: int) -> bytes:
        await asyncio.sleep(0)
        data = self._data[self.taken : self.taken + min(limit, self._step)]
        self.taken += len(data)
        return data

    def close(self) -> None:
        pass


async def fly(flight: Flight, body: Steps) -> None:
    first = await begin(body, "storage")
    await flight.carry(body, first, lambda _: None, lambda: None, "storage")
    await flight.drained()


@given(st.integers(0, 7 * CHUNK_BYTES), st.integers(1000, 99_999), st.integers(900, 99_999))
def test_any_cut_of_the_body_gives_the_same_bytes_within_the_queue(
    size: int, step: int, limit: int
) -> None:
    data = bytes(size % 251 for _ in range(size % 97)) + bytes(max(0, size - size % 97))

    async def play() -> None:
        flight = Flight(addr_of(data), stall_s=5.0, on_deserted=lambda: None)
        body, found = Steps(data, step), bytearray()

        def pull() -> None:
            while (taken := waiter.read(limit)) is not None:
                found.extend(taken[0])
                assert flight.held_bytes <= QUEUE_CHUNKS * CHUNK_BYTES
                assert body.taken <= len(found) + (QUEUE_CHUNKS + 1) * CHUNK_BYTES
                if taken[1]:
                    waiter.close()
                    return

        waiter = flight.join(lambda _: None, pull, lambda _: None)
        await fly(flight, body)
        assert bytes(found) == data

    asyncio.run(play())


async def test_who_does_not_read_what_is_not_kept_ends_refused() -> None:
    data = bytes(9 * CHUNK_BYTES)
    flight = Flight(addr_of(data), stall_s=0.01, on_deserted=lambda: None)
    waiter: Waiter = flight.join(lambda _: None, lambda: None, lambda _: None)
    await fly(flight, Steps(data, CHUNK_BYTES))
    with pytest.raises(Refused, match="not taken in time") as caught:
        waiter.read(1)
    assert caught.value.code == 408


async def test_who_joins_late_is_told_the_size_after_joining() -> None:
    data = b"short"
    flight = Flight(addr_of(data), stall_s=1.0, on_deserted=lambda: None)
    told: list[int] = []
    first = flight.join(told.append, lambda: None, lambda _: None)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fly(flight, Steps(data, 9)))
        await until(lambda: bool(told))
        second = flight.join(told.append, lambda: None, lambda _: None)
        assert told == [5]
        await asyncio.sleep(0)
        assert told == [5, 5]
        assert first.read(9) == second.read(9) == (b"short", True)
        first.close()
        second.close()


async def test_a_body_shorter_than_announced_is_cut() -> None:
    body = Steps(b"four", 9)
    body.size = 5
    with pytest.raises(Failed) as caught:
        await begin(body, "storage")
    assert caught.value.outcome is Outcome.CUT


def test_when_it_fails_everyone_is_told_once() -> None:
    refused: list[Refused] = []
    flight = Flight("b3:", stall_s=1.0, on_deserted=lambda: None)
    for _ in range(2):
        flight.join(lambda _: None, lambda: None, refused.append)
    flight.fail(Refused(503, "busy", "no"))
    flight.fail(Refused(503, "busy", "again"))
    assert [str(refusal) for refusal in refused] == ["no", "no"]
    assert not flight.can_join
