"""Reload: all or nothing, one at a time, and everybody is told."""

import asyncio
from collections.abc import Callable

import pytest

from overlay_edge.bus import Bus, ConfigUpdated, Topic
from overlay_edge.config import DEFAULTS, Config, parse
from overlay_edge.config.reload import compare
from overlay_edge.errors import ConfigError, IdentityError
from overlay_edge.host.journal import Journal
from overlay_edge.reload import Reloader


class Stage:
    """A reloader over a text that tests change."""

    def __init__(self) -> None:
        self.text = ""
        self.reads = 0
        self.in_force: Config = DEFAULTS
        self.broken: IdentityError | None = None
        self.preparing = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.lines: list[bytes] = []
        self.bus = Bus()
        self.kernel = self.bus.subscribe(Topic.KERNEL)
        self.reloader = Reloader(
            DEFAULTS,
            read=self.read,
            compare=compare,
            prepare=self.prepare,
            bus=self.bus,
            journal=Journal(sink=self.lines.append),
        )

    def read(self) -> Config:
        self.reads += 1
        return parse(self.text)

    async def prepare(self, config: Config) -> Callable[[], None]:
        self.preparing.set()
        await self.gate.wait()
        if self.broken:
            raise self.broken
        return lambda: setattr(self, "in_force", config)


async def test_what_the_sources_say_now_is_in_force_and_on_the_bus() -> None:
    stage = Stage()
    stage.text = "peer.max_rps = 7"
    changes = await stage.reloader.reload()
    assert [str(change) for change in changes] == ["peer.max_rps: 500 -> 7"]
    assert stage.in_force.peer.max_rps == stage.reloader.current.peer.max_rps == 7
    assert await anext(stage.kernel) == ConfigUpdated(1, ("peer.max_rps: 500 -> 7",))
    assert b'"event":"config_updated"' in stage.lines[0]


async def test_files_may_have_changed_where_no_setting_has() -> None:
    stage = Stage()
    assert await stage.reloader.reload() == ()
    assert stage.reloader.version == 1


@pytest.mark.parametrize("text", ["peer.max_rps = 0", 'oap.addr = "127.0.0.1:1"', "not TOML"])
async def test_a_config_that_is_wrong_or_needs_a_restart_changes_nothing(text: str) -> None:
    stage = Stage()
    stage.text = f"{text}\nlog_level = 'debug'"
    with pytest.raises(ConfigError):
        await stage.reloader.reload()
    assert stage.in_force is stage.reloader.current is DEFAULTS
    assert (stage.reloader.version, stage.reloader.refused_total) == (0, 1)
    assert stage.bus.published_total == 0
    assert b'"event":"config_refused"' in stage.lines[0]


async def test_a_certificate_that_does_not_fit_keeps_the_old_config_too() -> None:
    stage = Stage()
    stage.text = "peer.max_rps = 7"
    stage.broken = IdentityError("tls.key: not the certificate's")
    with pytest.raises(IdentityError):
        await stage.reloader.reload()
    assert stage.in_force is DEFAULTS
    stage.broken = None
    await stage.reloader.reload()
    assert stage.in_force.peer.max_rps == 7


async def test_callers_that_come_meanwhile_share_one_reload_that_reads_anew() -> None:
    stage = Stage()
    stage.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(stage.reloader.reload())
        await stage.preparing.wait()
        stage.text = "peer.max_rps = 7"
        others = [tasks.create_task(stage.reloader.reload()) for _ in range(5)]
        await asyncio.sleep(0)
        stage.gate.set()
    assert first.result() == ()
    assert all(len(other.result()) == 1 for other in others)
    assert (stage.reads, stage.reloader.version) == (2, 2)


async def test_a_caller_that_goes_away_leaves_the_next_one_a_working_reload() -> None:
    stage = Stage()
    stage.gate.clear()
    task = asyncio.create_task(stage.reloader.reload())
    await stage.preparing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stage.gate.set()
    stage.text = "peer.max_rps = 7"
    assert len(await stage.reloader.reload()) == 1
