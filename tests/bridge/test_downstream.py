"""Downstream: a storage that is a process of its own, is killed, and comes back; and TLS."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from overlay_edge.bridge.downstream import Http
from overlay_edge.bridge.neighbour import Failed
from overlay_edge.errors import ConfigError
from overlay_edge.proto.breaker import State
from overlay_edge.proto.frame import CHUNK_BYTES
from overlay_edge.proto.retry import Outcome
from tests.support.neighbours import QUICK, Bench, Reader, Service, addr_of

PROGRAM = Path(__file__).parents[1] / "support/storage_program.py"
DATA = bytes(10 * CHUNK_BYTES)


@asynccontextmanager
async def storage(port: int, *more: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAM), str(port), str(len(DATA)), *more, stdout=-1
    )
    assert process.stdout is not None
    try:
        yield process, int(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.slow
async def test_a_storage_killed_in_the_middle_is_left_alone_and_used_again_when_it_is_back() -> (
    None
):
    addr = addr_of(DATA)
    async with storage(0) as (process, port):
        url = f"http://127.0.0.1:{port}"
        bench = Bench(storage=url, timeout_s=5.0, retries=0)
        async with bench.running():
            reader = Reader().ask(bench.downstream, addr)
            await reader.sized.wait()
            process.kill()
            refusal = await reader.refusal()
            assert refusal.code == 503
            assert 0 < len(reader.data) < len(DATA)
            assert (bench.store.object_count, bench.store.reserved_bytes) == (0, 0)
            breaker = bench.downstream.neighbours["storage"].breaker
            since = bench.health_changes
            while breaker.state is State.CLOSED:
                assert (await Reader().ask(bench.downstream, addr).refusal()).code == 503
            assert not bench.downstream.health()["storage"].ok
            await bench.changed(since)
            since = bench.health_changes
            async with storage(port, "whole"):
                while not bench.downstream.health()["storage"].ok:  # the probe, by itself
                    await bench.changed(since)
                    since = bench.health_changes
                assert await Reader().ask(bench.downstream, addr).whole() == DATA
    assert bench.downstream.flights["kept"] == 1


async def test_nobody_there_is_unreachable() -> None:
    service = Service()
    async with service.serving():
        pass
    http = Http(replace(QUICK, storage=service.url))
    try:
        with pytest.raises(Failed) as caught:
            await http.call("storage", "GET", "/o/x")
    finally:
        await http.close()
    assert caught.value.outcome is Outcome.UNREACHABLE


async def test_a_service_that_speaks_no_tls_is_unreachable_over_it() -> None:
    async with Service().serving() as service:
        http = Http(replace(QUICK, storage=service.url.replace("http:", "https:")))
        try:
            with pytest.raises(Failed) as caught:
                await http.call("storage", "GET", "/o/x")
        finally:
            await http.close()
    assert caught.value.outcome in (Outcome.UNREACHABLE, Outcome.CUT)


async def test_authorities_that_are_none_end_the_start_with_their_key() -> None:
    with pytest.raises(ConfigError, match=r"^downstream\.ca: "):
        Http(replace(QUICK, storage="https://127.0.0.1:1", ca="/nowhere.pem"))


async def test_a_path_behind_the_address_is_kept() -> None:
    async with Service().serving() as service:
        service.says("/base/o/b3:0", text="x")
        http = Http(replace(QUICK, storage=f"{service.url}/base/"))
        body = await http.call("storage", "GET", "/o/b3:0")
        assert (body.size, await body.read(9)) == (1, b"x")
        body.close()
        await http.close()
