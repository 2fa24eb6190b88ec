"""Copies: one after the other, a bounded line, and patience with a storage in trouble."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from overlay_edge.bridge.copies import MAX_WAITING, TRIES, Copies
from overlay_edge.bridge.neighbour import Failed
from overlay_edge.errors import ObjectGone
from overlay_edge.proto.retry import Outcome
from tests.support.neighbours import until


@asynccontextmanager
async def running(script: list[bool | Exception]) -> AsyncIterator[Copies]:
    async def send(addr: str) -> bool:
        step = script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    copies = Copies(send, lambda: 0.0)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(copies.run())
        yield copies
        await until(lambda: not copies)
        task.cancel()


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ([True], "sent"),
        ([False], "gone"),
        ([ObjectGone("purged")], "gone"),
        ([Failed(Outcome.REFUSED, "storage: answered 403")], "refused"),
        ([Failed(Outcome.BROKEN, "storage: answered 500"), True], "sent"),
        ([Failed(Outcome.BROKEN, "storage: answered 500")] * TRIES, "refused"),
        ([*[Failed(Outcome.OPEN, "storage: no")] * 2, True], "sent"),
    ],
)
async def test_every_copy_ends_one_way(script: list[bool | Exception], outcome: str) -> None:
    async with running(script) as copies:
        copies.add("b3:a")
        copies.add("b3:a")
    assert (copies.outcomes, script) == ({outcome: 1}, [])


async def test_one_more_than_may_wait_is_given_up() -> None:
    async with running([True] * MAX_WAITING) as copies:
        for number in range(MAX_WAITING + 3):
            copies.add(str(number))
        assert len(copies) == MAX_WAITING
    assert copies.outcomes == {"full": 3, "sent": MAX_WAITING}
