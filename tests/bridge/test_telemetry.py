"""Telemetry: what a node tells of itself, and what it never tells."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from overlay_edge.bridge.telemetry import Teller
from overlay_edge.bus import AuthFailed, Bus, Health, ReadyChanged
from overlay_edge.host.journal import Journal
from overlay_edge.proto.audit import AuditLog
from overlay_edge.proto.chain import Kind
from overlay_edge.proto.telemetry import Telemetry
from tests.support.mqtt_bridges import until


class Room:
    """A teller with everything that it listens to."""

    def __init__(self) -> None:
        self.telemetry = Telemetry("b1", max_items=100, max_bytes=1 << 20)
        self.bus = Bus(capacity=4)
        self.audit = AuditLog(writer="edge", boot="b1", max_records=4, max_bytes=1 << 20)
        self.journal = Journal("info", lambda _: None)
        self.ticks = asyncio.Event()
        self.teller = Teller(
            self.telemetry,
            self.bus,
            self.audit,
            self.journal,
            sleep=self.sleep,
            wall=lambda: 1.5,
        )

    async def sleep(self, _: float) -> None:
        await self.ticks.wait()
        self.ticks.clear()

    @asynccontextmanager
    async def telling(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.teller.run())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            yield
            task.cancel()

    def told(self) -> list[tuple[str, dict[str, Any]]]:
        found = []
        while (record := self.telemetry.take(ts_ms=0)) is not None:
            facts = json.loads(record.text)
            assert facts.pop("boot") == "b1"
            facts.pop("seq")
            assert facts.pop("ts") == 1500
            found.append((record.kind, facts))
        return found


async def test_readiness_and_events_are_told_as_they_come() -> None:
    room = Room()
    async with room.telling():
        room.bus.publish(ReadyChanged(False, True, ("store",)))
        room.bus.publish(Health("tls", ok=True))
        room.bus.publish(AuthFailed("expired", "4f2a"))
        await until(lambda: len(room.telemetry) == 3)
    told = room.told()  # each topic in its order
    assert sorted(told, key=lambda one: str(one[1]["topic"])) == [
        (
            "bus",
            {"topic": "kernel", "event": "Health", "service": "tls", "ok": True},
        ),
        (
            "ready",
            {
                "topic": "overlay",
                "event": "ReadyChanged",
                "ready": False,
                "degraded": True,
                "missing": ["store"],
            },
        ),
        (
            "bus",
            {"topic": "overlay", "event": "AuthFailed", "reason": "expired", "cap_id": "4f2a"},
        ),
    ]


async def test_events_lost_on_the_way_are_told_as_lost() -> None:
    room = Room()
    async with room.telling():
        for _ in range(6):
            room.bus.publish(Health("tls", ok=True))
        await until(lambda: len(room.telemetry) == 5)
    assert room.told()[0] == ("bus", {"topic": "kernel", "lost": 2})


async def test_lines_of_the_log_are_told_until_the_end() -> None:
    room = Room()
    async with room.telling():
        room.journal.info("start", ready=1)
        room.journal.debug("never written, never told")
    room.journal.info("after the end")
    ((kind, facts),) = room.told()
    assert kind == "log"
    assert facts["line"]["event"] == "start"
    assert facts["line"]["ready"] == 1


async def test_the_audit_is_told_in_numbers() -> None:
    room = Room()
    for _ in range(2):
        room.audit.append(Kind.PURGE, ts_ms=1, subject={"name": "a secret name"})
    room.audit.append(Kind.START, ts_ms=1)
    async with room.telling():
        await until(lambda: len(room.telemetry) == 1)
        ((kind, facts),) = room.told()
        assert kind == "audit"
        assert "secret" not in str(facts)
        assert facts["kinds"] == {Kind.PURGE: 2, Kind.START: 1}
        assert (facts["first"], facts["next"], facts["lost"]) == (0, 3, 0)
        for _ in range(6):
            room.audit.append(Kind.PURGE, ts_ms=1)
        room.ticks.set()
        await until(lambda: len(room.telemetry) == 1)
        ((_, facts),) = room.told()
        assert (facts["first"], facts["next"], facts["lost"]) == (3, 9, 2)
        room.ticks.set()
        await until(lambda: not room.ticks.is_set())
        assert room.told() == []  # nothing came since
