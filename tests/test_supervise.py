"""Supervision: a crash is told, waited out and counted; the sixth in a row is the last."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from overlay_edge.bus import Bus, Event, Health, Lagged, ServiceCrashed, Topic
from overlay_edge.host.journal import Journal
from overlay_edge.proto.backoff import RESTART_S
from overlay_edge.supervise import Supervisor


class Stage:
    """A supervisor whose clock is moved by its own sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.given_up: list[tuple[str, str]] = []
        self.lines: list[bytes] = []
        self.bus = Bus()
        self.kernel = self.bus.subscribe(Topic.KERNEL)
        self.supervisor = Supervisor(
            self.bus,
            Journal(sink=self.lines.append),
            sleep=self.sleep,
            dice=lambda: 0.0,
            on_give_up=lambda name, reason: self.given_up.append((name, reason)),
            clock=lambda: self.now,
        )

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def events(self) -> list[Event | Lagged]:
        self.kernel.close()
        return [event async for event in self.kernel]


def dying(stage: Stage, lives: list[float]) -> Callable[[], Awaitable[None]]:
    """A task that lives as long as told each time, and then ends well."""
    left = iter(lives)

    async def run() -> None:
        for lived in left:
            stage.now += lived
            raise RuntimeError(f"after {lived:g} s")

    return run


async def test_a_task_that_ends_well_is_left_alone() -> None:
    stage = Stage()
    await stage.supervisor.keep("purger", dying(stage, []))
    assert await stage.events() == []
    assert stage.supervisor.restarts == {"purger": 0}


async def test_a_crash_is_on_the_bus_and_in_the_journal_and_the_task_lives_again() -> None:
    stage = Stage()
    await stage.supervisor.keep("purger", dying(stage, [1.0]))
    assert await stage.events() == [ServiceCrashed("purger", "RuntimeError: after 1 s")]
    assert stage.slept == [RESTART_S[0]]
    assert stage.supervisor.restarts["purger"] == 1
    assert b'ServiceCrashed{service=\\"purger\\"}' in stage.lines[0]


async def test_five_restarts_in_a_row_then_it_is_given_up() -> None:
    stage = Stage()
    await stage.supervisor.keep("links", dying(stage, [0.0] * 9))
    assert stage.slept == list(RESTART_S)
    assert stage.given_up == [("links", "RuntimeError: after 0 s")]
    events = await stage.events()
    assert len([event for event in events if isinstance(event, ServiceCrashed)]) == 6
    assert events[-1] == Health("links", ok=False)


async def test_a_minute_of_life_forgives_what_was_before() -> None:
    stage = Stage()
    lives = [0.0] * 5 + [60.0] + [0.0] * 4
    await stage.supervisor.keep("links", dying(stage, lives))
    assert stage.given_up == []
    assert stage.slept == list(RESTART_S) * 2


async def test_a_cancelled_task_is_not_started_again() -> None:
    stage, running = Stage(), asyncio.Event()

    async def run() -> None:
        running.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(stage.supervisor.keep("purger", run))
    await running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await stage.events() == []
    assert stage.given_up == []


async def test_what_a_life_counted_up_is_down_again_after_its_end() -> None:
    stage = Stage()
    alive, seen, lives = [0], [], iter(range(4))

    async def run() -> None:
        alive[0] += 1
        try:
            seen.append(alive[0])
            if next(lives) < 3:
                raise OSError("away")
        finally:
            alive[0] -= 1

    await stage.supervisor.keep("sink", run)
    assert (alive, seen) == ([0], [1, 1, 1, 1])


async def test_a_task_that_fails_while_it_is_cancelled_is_not_started_again() -> None:
    stage = Stage()
    lives = 0
    fails = asyncio.Event()

    async def fail() -> None:
        await fails.wait()
        raise RuntimeError("just now")

    async def run() -> None:  # a group that fails says so, and forgets that it was cancelled
        nonlocal lives
        lives += 1
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())
            await asyncio.Event().wait()

    task = asyncio.create_task(stage.supervisor.keep("part", run))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    fails.set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    assert (lives, stage.slept) == (1, [])
