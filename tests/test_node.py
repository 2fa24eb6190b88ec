"""A whole node on loopback: what it says while it starts, serves, is pressed, and leaves."""

import asyncio
import io
import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from overlay_edge.config import Config, PqMode, parse
from overlay_edge.errors import BindError, EdgeError, IdentityError, PolicyError, Refused
from overlay_edge.host.journal import Journal
from overlay_edge.host.promise import Promise
from overlay_edge.host.rules import RULES
from overlay_edge.node import Node
from tests.support.edge import LOCAL, edge
from tests.support.witness import watched

MIB = 1 << 20


async def get(address: str, path: str) -> tuple[int, dict[str, str], str]:
    """One HTTP request, without a library."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(10):
        head, _, body = (await reader.read(-1)).decode().partition("\r\n\r\n")
    writer.close()
    status, *lines = head.split("\r\n")
    headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, body


def run(config: Config) -> None:
    asyncio.run(_run(config))


async def _run(config: Config) -> None:
    await Node(config, profile="generic", journal=Journal("error", lambda line: None)).run()


async def test_a_started_node_says_so_in_one_line_with_its_sockets_and_its_fingerprint() -> None:
    async with edge() as running:
        (line,) = [json.loads(x) for x in running.lines if b'"event":"start"' in x]
        assert line["msg"].startswith(f"ready=1 oap={running.oap} admin={running.admin}")
        assert line["fingerprint"] == running.pin
        assert len(running.pin) == 64
        status, _, body = await get(running.admin, "/readyz")
        assert (status, json.loads(body)["ready"]) == (200, True)


async def test_an_object_goes_in_and_comes_out_and_the_numbers_add_up() -> None:
    data = os.urandom(3 * MIB + 7)
    async with edge() as running:
        async with running.client() as client:
            addr = await client.put(io.BytesIO(data), len(data))
            back = io.BytesIO()
            assert await client.get(addr, back.write) == len(data)
            assert back.getvalue() == data
        await running.until(lambda: not running.node.view.counters().sessions_active)
        counters = running.node.view.counters()
        assert counters.store_objects == 1
        assert counters.store_bytes == len(data)
        assert counters.inflight_open == 0
        assert counters.bytes["rx"] > len(data)
        assert counters.bytes["tx"] > len(data)
        assert counters.handshakes == counters.handshake_attempts == 1
        assert counters.pq_negotiations == {("hybrid", "ok"): 1}
        assert sum(counters.latency["objects", "put"].counts) == 1
        _, _, metrics = await get(running.admin, "/metrics")
        assert "overlay_store_objects 1.0" in metrics


async def test_a_mistake_in_the_sites_settings_is_a_readiness_reason_and_the_node_serves() -> None:
    mistake = "peer.max_rps: 0, expected 1 to 100000"
    async with edge(config_error=mistake) as running:
        status, headers, body = await get(running.admin, "/readyz")
        told = json.loads(body)
        assert (status, headers["retry-after"]) == (503, "5")
        assert told["missing"] == ["config"]
        assert told["reasons"]["config"] == mistake
        async with running.client() as client:
            assert await client.echo(b"still here") == b"still here"


async def test_a_full_store_turns_readiness_off_before_it_refuses_and_back_on_after() -> None:
    store = replace(
        LOCAL.store, object_max_bytes=MIB, total_max_bytes=10 * MIB, ttl_s=3600.0, max_objects=100
    )
    async with edge(replace(LOCAL, store=store)) as running, running.client() as client:
        stored = 0
        while running.node.view.readiness().ready:
            await client.put(io.BytesIO(os.urandom(MIB)), MIB)
            stored += 1
        assert stored == 9  # 85 % of ten is passed by the ninth, and the tenth still fits
        status, _, body = await get(running.admin, "/readyz")
        assert status == 503
        assert json.loads(body)["degraded"] is True
        assert json.loads(body)["missing"] == ["store_space"]
        await client.put(io.BytesIO(os.urandom(MIB)), MIB)
        with pytest.raises(Refused) as caught:
            await client.put(io.BytesIO(b"x"), 1)
        assert (caught.value.code, caught.value.token) == (503, "busy")
        assert caught.value.retry_after_ms
        assert running.node.view.store is not None
        running.node.view.store.purge()
        assert running.node.view.readiness().ready


async def test_open_requests_past_the_high_mark_turn_readiness_off_and_none_is_lost() -> None:
    transport = replace(LOCAL.transport, max_inflight=10)
    async with edge(replace(LOCAL, transport=transport)) as running, running.client() as client:
        started = [asyncio.create_task(client.echo(bytes(100_000))) for _ in range(8)]
        session = client.link.session
        assert session is not None
        uploads = [_stalled_upload(client) for _ in range(9)]
        await running.until(lambda: running.node.view.counters().inflight_open >= 9)
        assert running.node.view.readiness().missing == ("inflight",)
        for upload in uploads:
            session.cancel(upload)
        client.link.pump()
        await asyncio.gather(*started, return_exceptions=True)
        await running.until(lambda: running.node.view.readiness().ready)
        assert running.node.view.counters().inflight_open == 0


def _stalled_upload(client: object) -> int:
    from overlay_edge.client import Client
    from overlay_edge.proto.frame import App

    class Nothing:
        def read(self, limit: int) -> None:
            return None

        def close(self) -> None:
            pass

    assert isinstance(client, Client)
    assert client.link.session is not None
    request = client.link.session.request(App.OBJECTS, b'{"op":"put","size":9}', source=Nothing())
    client.link.pump()
    return request


async def test_stop_drops_readiness_first_lets_open_streams_finish_and_takes_no_new_ones() -> None:
    data = os.urandom(8 * MIB)
    async with edge() as running, running.client() as client:
        addr = await client.put(io.BytesIO(data), len(data))
        back = io.BytesIO()
        seen: list[tuple[bool, tuple[str, ...]]] = []

        def sink(piece: bytes) -> None:
            if not back.tell():
                running.node.request_stop()
            back.write(piece)
            if len(seen) < 50:
                snapshot = running.node.view.readiness()
                seen.append((snapshot.ready, snapshot.missing))

        assert await client.get(addr, sink) == len(data)
        assert back.getvalue() == data
        assert (False, ("draining",)) in seen
        with pytest.raises(EdgeError):
            await client.echo(b"too late")
        assert running.task is not None
        await running.task
        assert '"event":"shutdown_end"' in running.log
        with pytest.raises(EdgeError):
            async with running.client():
                pass


async def test_what_does_not_finish_within_the_drain_deadline_is_cut() -> None:
    config = replace(LOCAL, drain_deadline_s=0.05)
    async with edge(config) as running, running.client() as client:
        _stalled_upload(client)
        await running.until(lambda: running.node.view.counters().inflight_open)
        running.node.request_stop()
        assert running.task is not None
        await running.task
        assert '"cut":1' in running.log


async def test_nothing_is_kept_of_an_upload_whose_link_is_lost() -> None:
    async with edge() as running:
        async with running.client() as client:
            upload = asyncio.create_task(client.put(_Endless(), 40 * MIB))
            await running.until(lambda: running.node.view.counters().store_bytes)
            client.link.abort()
            with pytest.raises(EdgeError):
                await upload
        await running.until(lambda: not running.node.view.counters().store_bytes)
        assert running.node.view.counters().store_objects == 0
        assert running.node.view.counters().inflight_open == 0


class _Endless(io.RawIOBase):
    def read(self, size: int = -1) -> bytes:
        return bytes(min(size, 1000))


async def test_noise_on_the_port_is_counted_and_harms_nobody() -> None:
    async with edge() as running, running.client() as client:
        host, _, port = running.oap.rpartition(":")
        for _ in range(20):
            with socket.create_connection((host, int(port)), timeout=10) as sock:
                sock.sendall(os.urandom(500))
        assert await client.echo(b"fine") == b"fine"
        await running.until(lambda: running.node.view.tally.connections == 1)
        assert sum(running.node.view.counters().handshake_failures.values()) == 20
        assert running.node.view.readiness().ready


async def test_connections_over_the_limit_are_turned_away_and_counted() -> None:
    transport = replace(LOCAL.transport, max_conns=2)
    async with edge(replace(LOCAL, transport=transport)) as running:
        async with running.client() as one, running.client() as two:
            with pytest.raises(EdgeError):
                async with running.client():
                    pass
            assert await one.echo(b"1") + await two.echo(b"2") == b"12"
        assert running.node.view.counters().rejected["busy"] == 1


async def test_a_classical_node_answers_a_hybrid_client_classically_and_says_so() -> None:
    config = replace(LOCAL, oap=replace(LOCAL.oap, pq_mode=PqMode.CLASSICAL))
    async with edge(config) as running, running.client() as client:
        assert client.info.pq == "classical"
        assert client.hello["features"]["pq"] == "classical"


def test_a_port_in_use_ends_the_start_in_one_line_and_gives_everything_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for section in ("oap", "admin"):
            config = parse(f'{section}.addr = "127.0.0.1:{port}"', base=LOCAL)
            with pytest.raises(BindError, match=rf"{section}.addr: 127.0.0.1:{port}: Address"):
                run(config)


def test_a_store_path_that_is_not_ram_ends_the_start() -> None:
    config = replace(LOCAL, store=replace(LOCAL.store, path="/proc"))
    with pytest.raises(PolicyError, match="proc"):
        run(config)


def test_a_certificate_that_is_none_ends_the_start(ram_path: Path) -> None:
    cert, key = ram_path / "cert.pem", ram_path / "key.pem"
    cert.write_text("no certificate")
    key.write_text("no key")
    key.chmod(0o600)
    config = parse(f'[tls]\ncert = "{cert}"\nkey = "{key}"\n', base=LOCAL)
    with pytest.raises(IdentityError, match=r"tls\.cert"):
        run(config)


async def test_objects_on_a_tmpfs_leave_no_file_behind() -> None:
    shm = Path("/dev/shm")  # noqa: S108 - what is RAM on every Linux
    store = shm / f"overlay-edge-test-{os.getpid()}"
    store.mkdir(mode=0o700)
    try:
        config = replace(LOCAL, store=replace(LOCAL.store, path=str(store)))
        async with edge(config) as running:
            async with running.client() as client:
                addr = await client.put(io.BytesIO(b"on tmpfs"), 8)
                assert await client.head(addr) == 8
            assert len(list(store.iterdir())) == 1
        assert list(store.iterdir()) == []
    finally:
        store.rmdir()


async def test_a_bug_that_ends_the_node_wipes_everything_on_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("a bug")

    with watched() as witness:
        async with edge() as running:
            async with running.client() as client:
                await client.put(io.BytesIO(b"object"), 6)
                _stalled_upload(client)
                await running.until(lambda: running.node.view.counters().inflight_open)
            monkeypatch.setattr("overlay_edge.drain.Drain.leave", broken)
            running.node.request_stop()
            assert running.task is not None
            await asyncio.wait([running.task])
            error = running.task.exception()
            running.task = asyncio.create_task(asyncio.sleep(0))
        assert isinstance(error, ExceptionGroup)
        assert str(error.exceptions[0]) == "a bug"
        assert 6 in witness.lengths
        assert running.node.view.store is not None
        assert running.node.view.store.object_count == 0


async def test_a_required_rule_that_breaks_turns_readiness_off_and_back_on(tmp_path: Path) -> None:
    async with edge(replace(LOCAL, amnesia=False)) as running:
        _, _, body = await get(running.admin, "/version")
        assert (json.loads(body)["amnesia"], json.loads(body)["amnesia_kept"]) == (False, False)
    proc = tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    swaps = proc / "swaps"
    swaps.write_text("Filename Type\n")
    (rule,) = [rule for rule in RULES if rule.name == "swap"]
    async with edge(LOCAL) as running:
        promise = Promise(True, {}, root=tmp_path, rules=(rule._replace(every_s=0.01),))
        running.node.view.promise = promise
        view = running.node.view
        view.sample()
        assert view.readiness().ready
        assert (view.version()["amnesia"], view.version()["amnesia_kept"]) == (True, True)
        swaps.write_text("Filename Type\n/dev/zram0 partition\n")
        await running.until(lambda: not view.readiness().ready)
        status, _, body = await get(running.admin, "/readyz")
        told = json.loads(body)
        assert (status, told["missing"]) == (503, ["amnesia"])
        assert told["reasons"]["amnesia"] == "swap: swap on /dev/zram0, expected none"
        swaps.write_text("Filename Type\n")
        await running.until(lambda: view.readiness().ready)


async def test_a_reload_to_a_key_on_a_disk_is_refused() -> None:
    config = replace(LOCAL, amnesia=True, tls=replace(LOCAL.tls, cert="/proc/c", key="/proc/k"))
    async with edge(replace(LOCAL, amnesia=False)) as running:
        running.node._promise.is_on = True
        with pytest.raises(PolicyError, match=r"amnesia: paths: tls\.cert is /proc/c, on proc"):
            await running.node._prepare(config)
