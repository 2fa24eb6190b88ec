"""Panic: everything is wiped at once, whatever else happens, and the process ends."""

import asyncio
import gc
import io
import json
import weakref
from typing import Any

import pytest

from overlay_edge.certificate import Certificate
from overlay_edge.ctl.main import main
from overlay_edge.ending import Ending
from overlay_edge.errors import EdgeError, IdentityError
from overlay_edge.host.journal import Journal
from overlay_edge.panic import END_S, START_S, Panic, Struck
from overlay_edge.proto.audit import AuditLog, Cursor
from overlay_edge.proto.chain import Kind
from overlay_edge.proto.frame import App
from overlay_edge.store.medium import Blob
from overlay_edge.store.wiping import Cause
from tests.support.edge import LOCAL, Edge, edge
from tests.support.witness import watched


class Stage:
    """A panic without a node, and what it did."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.reasons: list[str] = []
        self.exits: list[int] = []
        self.armed: list[float] = []
        self.audit = AuditLog(writer="edge", boot="b1", max_records=50, max_bytes=1 << 20)
        self.panic = Panic(
            Journal("info", self.lines.append),
            self.audit,
            Certificate(has_aes=True),
            self.reasons.append,
            self.exits.append,
        )
        self.panic.arm = self.armed.append

    @property
    def log(self) -> str:
        return b"".join(self.lines).decode()


async def store_something(running: Edge) -> None:
    async with running.client() as client:
        await client.put(io.BytesIO(b"object"), 6)


async def test_everything_is_wiped_and_let_go_of_and_the_node_ends_with_its_code() -> None:
    async with edge() as running:
        await store_something(running)
        async with running.client() as client:
            assert client.link.session is not None
            put = b'{"op":"put","size":9}'
            client.link.session.request(App.OBJECTS, put, source=_Slow())
            client.link.session.request(App.ECHO, bytes(9), source=_Slow())
            client.link.pump()
            store, shared = running.node.view.store, running.node._shared
            assert store is not None
            await running.until(lambda: shared.inflight == 2 and store.reserved_bytes)
            await running.until(lambda: running.node.view.counters().bytes["rx"] > 100)
            with watched() as witness:
                told = running.node.panic.strike("test")
                assert sorted(witness.lengths)[-1] == 6
            assert (told["objects"], told["uploads"], told["sessions"]) == (1, 1, 1)
            assert (store.used_bytes, store.reserved_bytes) == (0, 0)
            assert (shared.inflight, shared.pool.used_bytes) == (0, 0)
            assert running.node.view.readiness().missing == ("draining",)
            assert running.node._audit.held_bytes == 0
            with pytest.raises(IdentityError):
                _ = running.node._certificate.context
            assert running.node.view.counters().store_purged["panic"] == 1
            with pytest.raises(EdgeError):
                await client.echo(b"x")
        with pytest.raises(EdgeError):
            async with running.client():
                pass
        assert running.node.panic.strike("again") == told
        running.node.panic.finish()
        assert running.task is not None
        assert await running.task is Ending.PANIC
        assert running.log.count('"event":"panic"') == 1
        assert '"event":"shutdown_begin"' not in running.log


async def test_what_is_let_go_of_is_collected_even_what_was_there_at_the_start() -> None:
    class Knot:
        pass

    knot = Knot()
    knot.itself = knot  # type: ignore[attr-defined]
    gone = weakref.ref(knot)
    gc.freeze()
    del knot
    gc.collect()
    assert gone() is not None
    Stage().panic.strike("test")
    assert gone() is None


async def test_an_order_over_http_is_answered_with_what_was_wiped(capsys: Any) -> None:
    async with edge() as running:
        await store_something(running)
        argv = ["--json", "--admin", running.admin, "panic", "--yes"]
        assert await asyncio.to_thread(main, argv) == 0
        told = json.loads(capsys.readouterr().out)
        assert told == {"objects": 1, "uploads": 0, "bytes": 6, "sessions": 0}
        assert running.task is not None
        assert await running.task is Ending.PANIC


async def test_a_drain_does_not_keep_it_from_happening() -> None:
    async with edge() as running, running.client() as client:
        assert client.link.session is not None
        client.link.session.request(App.OBJECTS, b'{"op":"put","size":9}', source=_Slow())
        client.link.pump()
        await running.until(lambda: running.node._shared.inflight)
        running.node.request_stop(Ending.REBOOT)
        await running.until(lambda: '"event":"shutdown_begin"' in running.log)
        running.node.panic.end("test")
        assert running.task is not None
        assert await running.task is Ending.PANIC
        assert '"event":"panic"' in running.log


async def test_a_panic_before_anything_is_there_ends_the_start() -> None:
    async with asyncio.timeout(5):
        running = Edge(LOCAL)
        running.node.panic.end("test")
        assert await running.node.run() is Ending.PANIC


async def test_a_step_that_fails_keeps_no_other_from_being_taken() -> None:
    stage = Stage()
    stage.audit.append(Kind.START, ts_ms=0)

    def broken() -> None:
        raise ValueError("no")

    stage.panic.closers = [broken, lambda: stage.reasons.append("closed")]
    stage.panic.strike("test")
    assert stage.reasons == ["panic: test", "closed"]
    assert stage.audit.held_bytes == 0
    assert stage.log.count("panic_step") == 1


async def test_an_object_that_cannot_be_overwritten_is_told_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(blob: Blob) -> None:
        raise OSError(5, "broken")

    async with edge() as running:
        await store_something(running)
        monkeypatch.setattr(Blob, "overwrite", broken)
        running.node.panic.strike("test")
        monkeypatch.undo()
        assert '"event":"wipe"' in running.log
        assert running.node._audit.held_bytes == 0


# -- the signal ---------------------------------------------------------------------------


async def test_a_signal_wipes_soon_and_an_alarm_watches_over_it() -> None:
    stage = Stage()
    stage.panic.on_signal(asyncio.get_running_loop())
    assert (stage.armed, stage.panic.is_struck) == ([START_S], False)
    with pytest.raises(Struck):
        await stage.panic.over()
    assert stage.armed == [START_S, END_S]
    assert stage.exits == []


async def test_a_second_signal_ends_the_process_at_once() -> None:
    stage = Stage()
    stage.panic.on_signal(asyncio.get_running_loop())
    stage.panic.on_signal(asyncio.get_running_loop())
    assert stage.exits == [12]


async def test_a_signal_during_a_panic_that_something_else_began_is_a_second_one() -> None:
    stage = Stage()
    stage.panic.strike("test")
    stage.panic.on_signal(asyncio.get_running_loop())
    assert stage.exits == [12]


async def test_the_last_resort_overwrites_before_it_ends_the_process() -> None:
    async with edge() as running:
        await store_something(running)
        stage = Stage()
        stage.panic.store = running.node.view.store
        with watched() as witness:
            stage.panic.last_resort()
        assert (witness.lengths, stage.exits) == ([6], [12])
        assert '"event":"panic_cut"' in stage.log


async def test_it_finds_an_object_that_was_being_overwritten_when_the_alarm_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with edge() as running:
        await store_something(running)
        stage = Stage()
        stage.panic.store = running.node.view.store
        overwrite, seen = Blob.overwrite, []

        def interrupted(blob: Blob) -> None:
            monkeypatch.undo()
            with watched() as witness:
                stage.panic.last_resort()
            seen.append(list(witness.lengths))  # the process would be gone here

        monkeypatch.setattr(Blob, "overwrite", interrupted)
        stage.panic.strike("test")
        assert Blob.overwrite is overwrite
        assert seen == [[6]]


def test_dropped_records_are_told_as_a_gap() -> None:
    stage = Stage()
    for number in range(3):
        stage.audit.append(Kind.START, ts_ms=number)
    stage.audit.drop()
    stage.audit.append(Kind.STOP, ts_ms=9)
    batch = stage.audit.read(Cursor(), 99, ts_ms=9)
    assert (batch.lost, len(batch.lines)) == (3, 2)


def test_nothing_is_wiped_where_there_is_nothing() -> None:
    assert Stage().panic.overwrite(Cause.DRAIN).objects == 0


class _Slow:
    """Sends three bytes, and then nothing for long."""

    def __init__(self) -> None:
        self.left = 1

    def read(self, limit: int) -> tuple[bytes, bool] | None:
        self.left -= 1
        return (b"abc", False) if self.left >= 0 else None

    def close(self) -> None:
        pass
