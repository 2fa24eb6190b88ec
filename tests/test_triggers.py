"""Triggers: a medium that goes away, and a button; each does what is configured, once."""

import asyncio
import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from overlay_edge.config import OnRemoval, PanicConfig
from overlay_edge.ending import Ending
from overlay_edge.proto.audit import Cursor
from overlay_edge.triggers import Triggers
from tests.support.edge import LOCAL, Edge, edge

NAME = "mmcblk0"


def watching(running: Edge, config: PanicConfig, root: Path) -> Triggers:
    """Triggers of a node whose own ones watch nothing, over a folder for sysfs and /dev."""
    node = running.node
    assert node._operations is not None
    return Triggers(
        config,
        node._operations,
        node.panic,
        node._journal,
        node._record,
        lambda name, reason: node.view.set(name, reason),
        block=root,
        dev=root,
    )


def configured(on_removal: OnRemoval = OnRemoval.NOTHING, gpio: str = "") -> Any:
    # Of the node itself, so that it has the checks: nothing there is called like this.
    panic = PanicConfig(medium="no-such-device", on_removal=on_removal, gpio=gpio)
    return replace(LOCAL, panic=panic)


async def store_something(running: Edge) -> None:
    async with running.client() as client:
        await client.put(io.BytesIO(b"object"), 6)


def records(running: Edge) -> list[dict[str, Any]]:
    lines = running.node._audit.read(Cursor(), 99, ts_ms=0).lines
    return [record for record in map(json.loads, lines) if record["kind"] == "medium_removed"]


async def test_a_medium_that_goes_away_is_logged_audited_and_otherwise_nothing(
    tmp_path: Path,
) -> None:
    async with edge() as running:
        await store_something(running)
        (tmp_path / NAME).touch()
        triggers = watching(running, PanicConfig(medium=NAME), tmp_path)
        await triggers.look()
        (tmp_path / NAME).unlink()
        for _ in range(3):
            await triggers.look()
        assert running.log.count('"event":"medium_removed"') == 1
        (record,) = records(running)
        assert (record["subject"], record["attrs"]) == ({"name": NAME}, {"action": "nothing"})
        assert running.node.view.counters().store_objects == 1
        assert running.node.view.readiness().ready


async def test_it_purges_once_where_that_is_configured_and_readiness_says_so(
    tmp_path: Path,
) -> None:
    async with edge(configured(OnRemoval.PURGE)) as running:
        await running.until(lambda: "medium" in running.node.view.readiness().missing)
        await store_something(running)
        (tmp_path / NAME).touch()
        config = PanicConfig(medium=NAME, on_removal=OnRemoval.PURGE)
        triggers = watching(running, config, tmp_path)
        await triggers.look()
        assert running.node.view.readiness().missing == ()
        assert running.node.view.counters().store_objects == 1
        (tmp_path / NAME).unlink()
        await triggers.look()
        (record,) = records(running)
        assert record["attrs"] == {"action": "purge", "objects": 1, "uploads": 0, "bytes": 6}
        assert running.node.view.counters().store_purged["medium"] == 1
        snapshot = running.node.view.readiness()
        assert (snapshot.ready, snapshot.degraded) == (True, True)
        assert [c.reason for c in snapshot.checks if c.name == "medium"] == [
            f"{NAME} was taken out"
        ]
        (tmp_path / NAME).touch()
        await triggers.look()
        await store_something(running)
        (tmp_path / NAME).unlink()
        await triggers.look()
        assert running.node.view.counters().store_objects == 1


async def test_a_panic_on_removal_ends_the_node(tmp_path: Path) -> None:
    async with edge(configured(OnRemoval.PANIC)) as running:
        await store_something(running)
        (tmp_path / NAME).touch()
        config = PanicConfig(medium=NAME, on_removal=OnRemoval.PANIC)
        triggers = watching(running, config, tmp_path)
        await triggers.look()
        (tmp_path / NAME).unlink()
        await triggers.look()
        assert running.node.view.counters().store_objects == 0
        assert running.task is not None
        assert await running.task is Ending.PANIC


async def test_a_medium_that_was_never_there_wipes_nothing() -> None:
    async with edge(configured(OnRemoval.PANIC)) as running:
        await running.until(lambda: "medium" in running.node.view.readiness().missing)
        snapshot = running.node.view.readiness()
        (check,) = [check for check in snapshot.checks if check.name == "medium"]
        assert (snapshot.ready, check.reason) == (True, "no-such-device is not there")
        assert not running.node.panic.is_struck


async def test_what_is_not_watched_is_not_shown() -> None:
    async with edge() as running:
        names = {check.name for check in running.node.view.readiness().checks}
        assert not {"medium", "panic_button"} & names


# -- the button ---------------------------------------------------------------------------


async def test_a_button_that_cannot_be_had_is_one_line_and_degrades(tmp_path: Path) -> None:
    async with edge(configured(gpio="gpiochip900:17")) as running:
        snapshot = running.node.view.readiness()
        assert (snapshot.ready, snapshot.degraded) == (True, True)
        assert snapshot.missing == ("panic_button",)
        (reason,) = [c.reason for c in snapshot.checks if c.name == "panic_button"]
        assert reason == "gpiochip900:17: No such file or directory"
        assert running.log.count('"event":"panic_button"') == 1


@pytest.fixture
def wired(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """A line that can be had: a pipe. Returns its other end."""
    ends: list[int] = []

    def take_line(line: object, dev: object) -> tuple[int, bool]:
        reader, writer = os.pipe2(os.O_NONBLOCK)
        ends.append(writer)
        return reader, True

    monkeypatch.setattr("overlay_edge.triggers.take_line", take_line)
    return lambda: ends[0]


async def test_a_press_is_a_panic(wired: Callable[[], int]) -> None:
    async with edge(configured(gpio="gpiochip0:17:low")) as running:
        await store_something(running)
        assert running.node.view.readiness().missing == ()
        os.write(wired(), (1).to_bytes(8, "little") + (1).to_bytes(4, "little") + bytes(36))
        assert running.task is not None
        async with asyncio.timeout(10):
            assert await running.task is Ending.PANIC
        assert running.node.view.counters().store_objects == 0
        assert '"reason":"button"' in running.log
    os.close(wired())


async def test_a_line_that_is_lost_later_is_told_too(wired: Callable[[], int]) -> None:
    async with edge(configured(gpio="gpiochip0:17")) as running:
        os.close(wired())
        await running.until(lambda: "panic_button" in running.node.view.readiness().missing)
        assert running.node.view.readiness().ready
