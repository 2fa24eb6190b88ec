"""The audit sink: at least once, in order, over outages; what is lost is said to be lost."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiomqtt
import pytest
from aiohttp import web

from overlay_edge.bridge.audit import BATCH, AuditSink, Carrier, carrier_to
from overlay_edge.errors import ConfigError
from overlay_edge.host.amnesia import memfd, memfd_path
from overlay_edge.host.journal import Journal
from overlay_edge.host.secret import Secret
from overlay_edge.proto.audit import AuditLog
from overlay_edge.proto.chain import Kind, Verifier
from tests.support.identity import identity
from tests.support.mosquitto import MISSING, MOSQUITTO, mosquitto
from tests.support.sealed import sealed

PATIENCE_S = 20


def new_log(records: int = 10_000) -> AuditLog:
    return AuditLog(writer="edge", boot="b1", max_records=records, max_bytes=64 << 20)


def write(log: AuditLog, count: int) -> None:
    for _ in range(count):
        log.append(Kind.PURGE, ts_ms=log.next_seq, subject={"name": f"o{log.next_seq}"})


class Gate:
    """A sleep that ends when a test says so."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def sleep(self, _seconds: float) -> None:
        self.waiting.set()
        await self.open.wait()
        await asyncio.sleep(0.001)  # a real one gives way, too


class Collector:
    """What an HTTP collector takes, and how it answers; both changed by tests."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.requests: list[web.BaseRequest] = []
        self.status = 204
        self.keeps = True
        self.hangs = False
        self.on_batch: Callable[[], None] = lambda: None

    async def answer(self, request: web.BaseRequest) -> web.Response:
        body = (await request.read()).decode()
        self.requests.append(request)
        if self.keeps:
            self.lines += body.splitlines()
        self.on_batch()
        if self.hangs:
            await asyncio.Event().wait()
        return web.Response(status=self.status)

    def verify(self) -> tuple[Verifier, list[str]]:
        verifier = Verifier()
        return verifier, [problem for line in self.lines if (problem := verifier.feed(line))]


@asynccontextmanager
async def listening(
    collector: Collector, port: int = 0, context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    server = web.Server(collector.answer, access_log=None, handler_cancellation=True)
    listener = await asyncio.get_running_loop().create_server(
        server, "127.0.0.1", port, ssl=context
    )
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await server.shutdown(0)


@asynccontextmanager
async def running(
    log: AuditLog, carrier: Carrier, gate: Gate | None = None, timeout_s: float = 5.0
) -> AsyncIterator[AuditSink]:
    sink = AuditSink(
        log,
        carrier,
        timeout_s=timeout_s,
        sleep=(gate or Gate()).sleep,
        dice=lambda: 0.5,
        journal=Journal(sink=lambda _: None),
    )
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(sink.run())
        yield sink
        task.cancel()


def over_http(port: int, credentials: Secret | None = None) -> Carrier:
    url = f"http://127.0.0.1:{port}/edge?x=1"
    return carrier_to(url, client_id="edge", credentials=credentials)


async def test_records_arrive_as_lines_in_batches_with_the_token() -> None:
    log, collector = new_log(), Collector()
    write(log, BATCH + 3)
    async with (
        listening(collector) as port,
        running(log, over_http(port, credentials=sealed(b"s3cret\n"))) as sink,
    ):
        await sink.drained()
        write(log, 2)
        await sink.drained()
    verifier, problems = collector.verify()
    assert (verifier.records, problems) == (BATCH + 5, [])
    request = collector.requests[0]
    assert (request.method, request.path_qs) == ("POST", "/edge?x=1")
    assert request.headers["Authorization"] == "Bearer s3cret"
    assert request.content_type == "application/x-ndjson"
    assert (sink.delivered_total, sink.lost_total, sink.backlog) == (BATCH + 5, 0, 0)
    assert sink.health() == (True, "")


async def test_after_an_outage_it_resumes_where_it_was_acknowledged() -> None:
    log, collector, gate = new_log(), Collector(), Gate()
    async with listening(collector) as port:
        pass  # nobody there yet, but the port is known
    gate.open.clear()
    write(log, 3)
    async with running(log, over_http(port), gate) as sink:
        await gate.waiting.wait()
        healthy, reason = sink.health()
        write(log, 3)
        async with listening(collector, port):
            gate.open.set()
            await sink.drained()
    assert not healthy
    assert reason
    verifier, problems = collector.verify()
    assert (verifier.records, verifier.duplicates, verifier.lost, problems) == (6, 0, 0, [])
    assert sink.health() == (True, "")


@pytest.mark.parametrize("keeps", [True, False])
async def test_an_answer_that_is_no_yes_means_once_more(keeps: bool) -> None:
    log, collector, gate = new_log(), Collector(), Gate()
    collector.status, collector.keeps = 503, keeps
    gate.open.clear()
    write(log, 5)
    async with listening(collector) as port, running(log, over_http(port), gate) as sink:
        await gate.waiting.wait()
        assert "answered 503" in sink.health()[1]
        collector.status, collector.keeps = 200, True
        gate.open.set()
        await sink.drained()
    verifier, problems = collector.verify()
    assert (verifier.records, verifier.duplicates, problems) == (5, 5 if keeps else 0, [])


async def test_a_collector_that_never_answers_is_left_and_asked_again() -> None:
    log, collector, gate = new_log(), Collector(), Gate()
    collector.hangs = True
    gate.open.clear()
    write(log, 1)
    async with (
        listening(collector) as port,
        running(log, over_http(port), gate, timeout_s=0.1) as sink,
    ):
        await gate.waiting.wait()
        assert sink.health() == (False, "no answer within 0.1 s")
        collector.hangs = False
        gate.open.set()
        await sink.drained()
    assert collector.verify()[1] == []


async def test_what_the_ring_lost_meanwhile_is_one_gap() -> None:
    log, collector, gate = new_log(records=8), Collector(), Gate()
    write(log, 4)
    async with listening(collector) as port, running(log, over_http(port), gate) as sink:
        await sink.drained()
        collector.status, collector.keeps = 500, False
        gate.open.clear()
        gate.waiting.clear()
        write(log, 1)
        await gate.waiting.wait()
        write(log, 20)
        collector.status, collector.keeps = 200, True
        gate.open.set()
        await sink.drained()
    verifier, problems = collector.verify()
    assert (verifier.records, verifier.lost, problems) == (12, 13, [])
    assert (sink.delivered_total, sink.lost_total) == (12, 13)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200",
        b"HTTP/1.1 2000 x\r\n\r\n",
        b"x" * 20_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 9,
    ],
)
async def test_an_answer_that_is_not_http_is_no_acknowledgement(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    log, gate = new_log(), Gate()
    write(log, 1)
    gate.open.clear()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with running(log, over_http(port), gate) as sink:
            await gate.waiting.wait()
            assert sink.backlog == 1
            assert not sink.health()[0]


async def test_a_restarted_task_goes_on_where_the_last_one_was() -> None:
    log, collector = new_log(), Collector()
    write(log, 5)
    async with listening(collector) as port, running(log, over_http(port)) as sink:
        await sink.drained()
    async with listening(collector, port), asyncio.TaskGroup() as tasks:
        write(log, 2)
        task = tasks.create_task(sink.run())
        await sink.drained()
        task.cancel()
    verifier, problems = collector.verify()
    assert (verifier.records, verifier.duplicates, problems) == (7, 0, [])


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"credentials": sealed(b"a\nb")}, "one line"),
        ({"credentials": sealed("é".encode())}, "one line"),
        ({"ca": b"no pem"}, "audit.ca"),
        ({"ca": b"\xff"}, "audit.ca"),
    ],
)
def test_credentials_and_authorities_that_cannot_be_used_are_a_config_error(
    more: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        carrier_to("https://127.0.0.1/", client_id="edge", **more)


async def test_only_a_collector_with_the_right_certificate_gets_records() -> None:
    cert, key = identity()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(memfd_path(memfd("cert", cert)), memfd_path(memfd("key", key)))
    log, collector, gate = new_log(), Collector(), Gate()
    write(log, 2)
    gate.open.clear()
    async with listening(collector, context=context) as port:
        url = f"https://127.0.0.1:{port}/"
        async with running(log, carrier_to(url, client_id="edge", ca=identity()[0]), gate) as sink:
            await gate.waiting.wait()
            assert "certificate" in sink.health()[1].lower()
        assert collector.lines == []
        async with running(log, carrier_to(url, client_id="edge", ca=cert)) as sink:
            await sink.drained()
    assert collector.verify()[0].records == 2


@pytest.mark.slow
@pytest.mark.skipif(MOSQUITTO is None, reason=MISSING)
async def test_a_broker_killed_in_the_middle_leaves_no_gap_and_no_unseen_duplicate() -> None:
    log, gate, verifier, problems = new_log(), Gate(), Verifier(), []
    total = 9000  # more than a broker takes while its subscriber reads the first third
    write(log, total)
    async with mosquitto() as broker:
        carrier = carrier_to(f"mqtt://127.0.0.1:{broker.port}/edge/audit", client_id="edge")
        async with hearing(broker.port) as subscriber, running(log, carrier, gate) as sink:
            async for message in subscriber.messages:
                problems += [verifier.feed(str(message.payload, "utf-8"))]
                if verifier.records == total // 3:
                    gate.open.clear()  # not before somebody listens again
                    broker.kill()
                    break
            with suppress(aiomqtt.MqttError):  # what was on its way still arrives
                async for message in subscriber.messages:
                    problems += [verifier.feed(str(message.payload, "utf-8"))]
            assert verifier.records < total
            await gate.waiting.wait()
            assert not sink.health()[0]
            await broker.start()
            async with hearing(broker.port) as again:
                gate.open.set()
                async for message in again.messages:
                    problems += [verifier.feed(str(message.payload, "utf-8"))]
                    if verifier.records == total:
                        break
                await sink.drained()
    assert set(problems) == {""}
    assert (verifier.records, verifier.lost) == (total, 0)
    assert verifier.duplicates <= BATCH
    assert (sink.delivered_total, sink.lost_total, sink.failures_total > 0) == (total, 0, True)


@asynccontextmanager
async def hearing(port: int) -> AsyncIterator[aiomqtt.Client]:
    """A subscriber without a window of its own: the broker passes on what it acknowledges."""
    client = aiomqtt.Client("127.0.0.1", port)
    await client.__aenter__()
    await client.subscribe("edge/audit", qos=0)
    try:
        yield client
    finally:
        await client.__aexit__(None, None, None)
