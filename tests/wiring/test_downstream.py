"""A whole node in front of real HTTP services: what is not here is fetched, verified and kept."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest

from overlay_edge.bridge.services import Downstream
from overlay_edge.client import Client
from overlay_edge.errors import Refused
from overlay_edge.proto.frame import App
from tests.support.edge import LOCAL, Edge, edge
from tests.support.neighbours import QUICK, Service, addr_of

BIG = os.urandom(2_000_001)


@asynccontextmanager
async def fronted(service: Service, cache: float = 0.5) -> AsyncIterator[tuple[Edge, Downstream]]:
    """A node whose storage and mailbox are the service, once it knows that they answer."""
    downstream = replace(
        QUICK,
        storage=service.url,
        mailbox=service.url,
        cache=cache,
        timeout_s=2.0,
        deadline_s=3.0,
    )
    async with edge(replace(LOCAL, downstream=downstream)) as running:
        behind = running.node.view.downstream
        assert behind is not None
        await running.until(lambda: behind.health()["storage"].ok)
        yield running, behind


async def fetch(client: Client, addr: str) -> bytes:
    found = bytearray()
    await client.get(addr, found.extend)
    return bytes(found)


async def test_an_object_of_the_storage_is_fetched_once_for_all_who_ask_and_kept() -> None:
    async with Service().serving() as service:
        addr = service.has(BIG)
        async with fronted(service) as (running, behind), running.client() as client:
            assert await client.head(addr) == len(BIG)
            assert await asyncio.gather(*(fetch(client, addr) for _ in range(3))) == [BIG] * 3
            await running.until(lambda: not behind.busy)
            assert running.node.view.counters().store_objects == 1
            assert behind.flights["kept"] == 1
            assert await fetch(client, addr) == BIG
        assert running.node._shared.inflight == 0


async def test_an_object_that_does_not_fit_is_passed_through_and_not_kept() -> None:
    async with Service().serving() as service:
        addr = service.has(BIG)
        async with fronted(service, cache=0.01) as (running, _), running.client() as client:
            assert await fetch(client, addr) == BIG
            assert running.node.view.counters().store_objects == 0


async def test_a_storage_that_lies_is_caught_and_nothing_of_it_is_kept() -> None:
    async with Service().serving() as service:
        wrong = addr_of(b"something else")
        service.says(f"/o/{wrong}", body=BIG)
        async with fronted(service) as (running, _), running.client() as client:
            with pytest.raises(Refused) as caught:
                await fetch(client, wrong)
            assert caught.value.code == 500
            with pytest.raises(Refused) as caught:
                await fetch(client, addr_of(b"nobody has this"))
            assert caught.value.code == 404
            assert running.node.view.counters().store_objects == 0
            assert await client.echo(b"fine") == b"fine"


async def test_mail_is_handed_to_the_mailbox() -> None:
    async with Service().serving() as service:
        service.says("/v1/send", method="POST", text='{"id":"1"}')
        async with fronted(service) as (running, _), running.client() as client:
            await running.until(lambda: running.node.view.readiness().ready)
            answer = await client.call(App.MAILBOX, b'{"op":"send","to":"x"}', lambda data: None)
            assert b'"id"' in answer


async def test_a_service_that_is_gone_degrades_the_node_and_does_not_kill_it() -> None:
    service = Service()
    async with AsyncExitStack() as up:
        await up.enter_async_context(service.serving())
        addr = service.has(BIG)
        async with fronted(service) as (running, behind):
            await running.until(lambda: running.node.view.readiness().ready)
            await up.aclose()
            async with running.client() as client:
                with pytest.raises(Refused) as caught:
                    await fetch(client, addr)
                assert caught.value.code in (503, 504)
                await running.until(lambda: not behind.health()["storage"].ok)
                snapshot = running.node.view.readiness()
                assert snapshot.ready
                assert "downstream.storage" in snapshot.missing
                assert await client.echo(b"alive") == b"alive"
