"""The canary: one flight at a time, by the way of every peer, and an honest word about it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import cast

import pytest

from overlay_edge.canary import (
    FAILURES,
    KEPT,
    PAYLOAD_BYTES,
    SLOW_S,
    TIMEOUT_S,
    Canary,
    own_address,
)
from overlay_edge.client import Client, connect
from overlay_edge.errors import EdgeError, Refused, TransportError
from overlay_edge.proto.frame import Frame, encode, encode_json
from tests.support.edge import LOCAL, edge
from tests.support.wire import listening, server


class Sky:
    """What a canary meets, made by hand: a clock, and a way that is free or not."""

    def __init__(self, *, interval_s: float = 5.0) -> None:
        self.now = 0.0
        self.took_s = 0.02
        self.error: EdgeError | None = None
        self.back: Callable[[bytes], bytes] = lambda payload: payload
        self.reports: list[str] = []
        self.starts: list[float] = []
        self.aborted = 0
        self.aloft = 0
        self.canary = Canary(
            self.dial,
            self.reports.append,
            interval_s=interval_s,
            sleep=self.sleep,
            clock=lambda: self.now,
        )
        self.flights_left = 0

    @property
    def link(self) -> "Sky":
        return self

    def abort(self) -> None:
        self.aborted += 1

    async def echo(self, payload: bytes) -> bytes:
        self.now += self.took_s
        if self.error is not None:
            raise self.error
        return self.back(payload)

    @contextlib.asynccontextmanager
    async def dial(self) -> AsyncIterator[Client]:
        self.starts.append(self.now)
        self.aloft += 1
        assert self.aloft == 1
        try:
            yield cast(Client, self)
        finally:
            self.aloft -= 1

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.flights_left -= 1
        if not self.flights_left:
            raise asyncio.CancelledError

    async def fly(self, flights: int) -> list[str]:
        """Let it run for so many flights; what it said of them."""
        self.flights_left, said = flights, len(self.reports)
        with pytest.raises(asyncio.CancelledError):
            await self.canary.run()
        return self.reports[said:]


async def test_a_free_way_is_nothing_to_report_and_every_flight_is_measured() -> None:
    sky = Sky()
    assert await sky.fly(3) == ["", "", ""]
    assert sum(sky.canary.latency.counts) == 3
    assert sky.canary.latency.sum_s == pytest.approx(0.06)
    assert sky.aborted == 0


async def test_flights_start_at_a_fixed_interval_whatever_they_meet() -> None:
    sky = Sky()
    await sky.fly(2)
    sky.error = TransportError("reset")
    await sky.fly(4)
    assert sky.starts == pytest.approx([0.0, 5.0, 10.0, 15.0, 20.0, 25.0])


async def test_a_flight_longer_than_the_interval_delays_the_next_and_none_piles_up() -> None:
    sky = Sky(interval_s=1.0)
    sky.took_s = 4.0
    await sky.fly(3)
    assert sky.starts == pytest.approx([0.0, 4.0, 8.0])


async def test_the_third_failure_in_a_row_counts_and_one_success_clears_it() -> None:
    sky = Sky()
    sky.error = Refused(503, "busy", "512 requests open")
    *before, last = await sky.fly(FAILURES)
    assert before == [""] * (FAILURES - 1)
    assert last == "3 failures in a row, the last: 512 requests open"
    sky.error = None
    assert await sky.fly(1) == [""]
    sky.error = TransportError("reset")
    assert await sky.fly(FAILURES - 1) == [""] * (FAILURES - 1)


async def test_other_bytes_are_a_failure() -> None:
    sky = Sky()
    sky.back = lambda payload: payload[:-1]
    assert (await sky.fly(FAILURES))[-1].endswith("other bytes came back")


async def test_one_slow_flight_is_forgiven_and_a_slow_way_is_not() -> None:
    sky = Sky()
    sky.took_s = 3.0
    assert await sky.fly(1) == [""]
    sky.took_s = 0.02
    assert await sky.fly(5) == [""] * 5
    sky.took_s = SLOW_S + 0.5
    assert await sky.fly(1) == ["p95 of the last 7 flights 1.50 s, limit 1 s"]
    sky.took_s = 0.02
    said = await sky.fly(KEPT)
    assert said[0] != said[-1] == ""


class Deaf(Sky):
    """A node that stops in the middle: nothing ends before the link is aborted."""

    def __init__(self, *, answers: bool) -> None:
        super().__init__()
        self._answers = answers
        self._gone = asyncio.Event()

    def abort(self) -> None:
        super().abort()
        self._gone.set()

    async def echo(self, payload: bytes) -> bytes:
        if not self._answers:
            await asyncio.Event().wait()
        return payload

    @contextlib.asynccontextmanager
    async def dial(self) -> AsyncIterator[Client]:
        try:
            yield cast(Client, self)
        finally:
            await self._gone.wait()


@pytest.mark.parametrize("answers", [True, False])
async def test_neither_an_answer_nor_a_farewell_that_never_comes_holds_it_up(
    answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overlay_edge.canary.TIMEOUT_S", 0.01)
    monkeypatch.setattr("overlay_edge.canary.FAILURES", 1)
    sky = Deaf(answers=answers)
    async with asyncio.timeout(TIMEOUT_S):
        await sky.canary.fly()
    assert sky.canary.verdict.endswith("no answer within 0.01 s")
    assert sky.aborted >= 1


async def test_an_interval_of_nothing_is_no_canary() -> None:
    sky = Sky(interval_s=0.0)
    await sky.canary.run()
    assert not sky.starts
    assert not sky.reports


@pytest.mark.parametrize(
    ("listening_at", "dialled"),
    [
        ("0.0.0.0:9444", "127.0.0.1:9444"),
        ("[::]:9444", "[::1]:9444"),
        ("192.0.2.7:1", "192.0.2.7:1"),
        ("[2001:db8::7]:1", "[2001:db8::7]:1"),
        ("127.0.0.1:9444", "127.0.0.1:9444"),
    ],
)
def test_a_listener_on_every_interface_is_dialled_on_loopback(
    listening_at: str, dialled: str
) -> None:
    assert own_address(listening_at) == dialled


async def test_a_real_node_is_flown_through_and_counts_it_like_any_peer() -> None:
    quiet = replace(LOCAL, readiness=replace(LOCAL.readiness, canary_interval_s=0.0))
    async with edge(quiet) as running:
        canary = Canary(running.client, lambda reason: None, interval_s=5.0)
        await canary.fly()
        assert canary.verdict == ""
        assert sum(canary.latency.counts) == 1
        await running.until(lambda: not running.node.view.counters().sessions_active)
        counters = running.node.view.counters()
        assert counters.sessions_opened == 1
        assert counters.bytes["rx"] > PAYLOAD_BYTES
        assert counters.inflight_open == 0


async def test_a_node_that_is_gone_is_a_failure_with_its_name() -> None:
    async with edge() as running:
        address, pin = running.oap, running.pin
    canary = Canary(lambda: connect(address, pin=pin), lambda reason: None, interval_s=5.0)
    for _ in range(FAILURES):
        await canary.fly()
    assert "Connect" in canary.verdict or "refused" in canary.verdict
    assert address in canary.verdict


async def test_a_listener_that_greets_and_never_answers_is_given_up_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("overlay_edge.canary.TIMEOUT_S", 0.2)
    monkeypatch.setattr("overlay_edge.canary.FAILURES", 1)
    hello = encode_json({"max_frame": 1 << 20, "max_inflight": 4, "versions": [1]})
    async with listening(server()) as (silent, port):
        greetings = [encode(Frame(2, 200, payload=hello))]
        silent.on_data = lambda _: silent.up.write(greetings.pop()) if greetings else None
        canary = Canary(lambda: connect(f"127.0.0.1:{port}"), lambda reason: None, interval_s=5.0)
        async with asyncio.timeout(TIMEOUT_S):
            await canary.fly()
        assert canary.verdict == "1 failures in a row, the last: no answer within 0.2 s"
        assert not greetings
        await silent.until(lambda recorder: recorder.closed)
