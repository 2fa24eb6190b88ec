"""What an operator may do to a running node, on a running node."""

import asyncio
import io
from dataclasses import replace

import pytest

from overlay_edge.config import AuthConfig, AuthMode, Config
from overlay_edge.errors import ConfigError, EdgeError, Refused
from overlay_edge.operations import Operations
from overlay_edge.proto.authority import Authority
from overlay_edge.proto.clock import ClockFloor
from overlay_edge.proto.frame import App
from tests.support.edge import LOCAL, Edge, edge


def operations(running: Edge) -> Operations:
    assert running.node._operations is not None
    return running.node._operations


async def test_a_purge_wipes_one_object_a_topic_or_all_and_says_how_much() -> None:
    async with edge() as running, running.client() as client:
        one = await client.put(io.BytesIO(b"one"), 3)
        await client.put(io.BytesIO(b"three"), 5)
        await client.put(io.BytesIO(b"heat"), 4, topic="site/heat")
        done = await operations(running).purge(addr=one)
        assert done == {"objects": 1, "uploads": 0, "bytes": 3}
        with pytest.raises(Refused):
            await client.head(one)
        done = await operations(running).purge(topic="site/heat")
        assert done == {"objects": 1, "uploads": 0, "bytes": 4}
        assert (await operations(running).purge())["objects"] == 1
        assert running.node.view.counters().store_bytes == 0
        assert running.node.view.counters().store_purged["purge"] == 3


async def test_a_purge_of_everything_cuts_what_links_hold_and_keeps_their_sessions() -> None:
    async with edge() as running, running.client() as client:
        assert client.link.session is not None
        client.link.session.request(App.OBJECTS, b'{"op":"put","size":9}', source=_Slow())
        client.link.session.request(App.ECHO, b"held", source=_Slow())
        client.link.pump()
        store = running.node.view.store
        assert store is not None
        await running.until(lambda: running.node.view.counters().inflight_open == 2)
        await running.until(lambda: store.reserved_bytes)
        done = await operations(running).purge()
        assert (done["objects"], done["uploads"]) == (0, 1)
        assert running.node.view.counters().inflight_open == 0
        assert store.reserved_bytes == 0
        assert running.node._shared.pool.used_bytes == 0
        assert await client.echo(b"still here") == b"still here"
        assert running.node.view.counters().rejected["busy"] == 2


def test_a_key_that_is_none_is_refused_by_name() -> None:
    authority = Authority(AuthConfig(mode=AuthMode.WRITE), ClockFloor())
    with pytest.raises(ConfigError, match="64 hex digits"):
        Operations(None, authority, None, None, stop=print, panic=None).rotate(  # type: ignore[arg-type]
            "xyz", 1.0
        )


async def test_a_reload_puts_new_limits_in_force_without_dropping_a_session() -> None:
    wanted = LOCAL
    async with edge(read_config=lambda: wanted) as running, running.client() as client:
        assert await client.echo(b"before") == b"before"
        wanted = replace(
            LOCAL,
            transport=replace(LOCAL.transport, max_inflight=7),
            store=replace(LOCAL.store, object_max_bytes=10),
        )
        version, changed = await operations(running).reload()
        assert version == 1
        assert any("transport.max_inflight" in line for line in changed)
        assert running.node._shared.limits.transport.max_inflight == 7
        with pytest.raises(Refused, match="limit 10"):
            await client.put(io.BytesIO(bytes(11)), 11)
        assert await client.echo(b"after") == b"after"
        assert client.info.fingerprint == running.pin
        assert running.node.view.counters().config_updates == {"ok": 1, "refused": 0}


async def test_a_reload_with_a_mistake_keeps_everything_as_it_was() -> None:
    def broken() -> Config:
        raise ConfigError(["peer.max_rps: 0, expected 1 to 100000"])

    async with edge(read_config=broken) as running, running.client() as client:
        with pytest.raises(EdgeError, match=r"peer\.max_rps"):
            await operations(running).reload()
        assert await client.echo(b"on") == b"on"
        assert running.node.view.readiness().ready
        assert running.node.view.counters().config_updates == {"ok": 0, "refused": 1}


async def test_what_needs_a_restart_is_refused_by_name() -> None:
    wanted = replace(LOCAL, oap=replace(LOCAL.oap, addr="127.0.0.1:1"))
    async with edge(read_config=lambda: wanted) as running:
        with pytest.raises(EdgeError, match=r"oap\.addr"):
            await operations(running).reload()


async def test_the_signal_reloads_too_and_is_audited() -> None:
    wanted = replace(LOCAL, peer=replace(LOCAL.peer, max_rps=123))
    async with edge(read_config=lambda: wanted) as running:
        running.node.request_reload()
        await running.until(lambda: running.node._reloader.version == 1)
        assert running.node._shared.limits.session.max_rps == 123
        await running.until(lambda: running.node._audit.next_seq >= 2)


async def test_a_site_that_mends_its_settings_becomes_ready_without_a_restart() -> None:
    async with edge(config_error="store.ttl: 0, expected", read_config=lambda: LOCAL) as running:
        assert running.node.view.readiness().missing == ("config",)
        await operations(running).reload()
        assert running.node.view.readiness().ready


async def test_a_task_that_keeps_dying_ends_the_node_with_its_name() -> None:
    async with edge() as running:
        running.node._give_up("purger", "KeyError: 7")
        assert running.task is not None
        await asyncio.wait([running.task])
        error = running.task.exception()
        assert str(error) == "purger keeps failing: KeyError: 7"
        running.task = asyncio.create_task(asyncio.sleep(0))


class _Slow:
    """Sends three bytes, and then nothing for long."""

    def __init__(self) -> None:
        self.left = 1

    def read(self, limit: int) -> tuple[bytes, bool] | None:
        self.left -= 1
        return (b"abc", False) if self.left >= 0 else None

    def close(self) -> None:
        pass
