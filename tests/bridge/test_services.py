"""Services: objects from real servers that are honest, slow, wrong, or gone."""

import asyncio
import os
from typing import Any

import pytest
from aiohttp import web

from overlay_edge.errors import Refused
from overlay_edge.proto.frame import CHUNK_BYTES
from tests.support.neighbours import Bench, Reader, addr_of, until

BIG = os.urandom(9 * CHUNK_BYTES + 77)
SMALL = b"an object of one chunk"


def head(size: int, *more: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {size}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.mark.parametrize("data", [BIG, SMALL, b"", bytes(CHUNK_BYTES), bytes(2 * CHUNK_BYTES)])
async def test_an_object_that_is_not_here_is_fetched_and_kept(data: bytes) -> None:
    async with Bench().running("storage") as bench:
        addr = bench.storage.has(data)
        reader = Reader().ask(bench.downstream, addr)
        assert await reader.whole() == data
        assert reader.size == len(data)
        found = bench.store.get(addr, now=0)
        assert found is not None
        assert found.read(0, len(data) + 1) == data
    assert (bench.downstream.busy, bench.downstream.flights) == (0, {"kept": 1})
    assert bench.store.reserved_bytes == 0


async def test_what_the_store_has_no_room_for_is_passed_on() -> None:
    async with Bench(cache=0.1).running("storage") as bench:
        addr = bench.storage.has(BIG)
        assert await Reader(limit=7000).ask(bench.downstream, addr).whole() == BIG
        assert bench.store.object_count == 0
    assert bench.downstream.flights == {"passed": 1}


@pytest.mark.parametrize("cache", [0.5, 0.1])
async def test_one_flight_serves_everyone_who_asks_meanwhile(cache: float) -> None:
    async with Bench(cache=cache).running("storage") as bench:
        addr = bench.storage.has(BIG)
        readers = [Reader().ask(bench.downstream, addr) for _ in range(20)]
        assert [await reader.whole() for reader in readers] == [BIG] * 20
        assert bench.storage.asked == {("GET", f"/o/{addr}"): 1}
    assert bench.downstream.coalesced_total == 19


async def test_who_comes_late_or_reads_slowly_goes_on_from_the_store() -> None:
    async with Bench().running("storage") as bench:
        addr = bench.storage.has(BIG)
        slow = Reader(pace=1).ask(bench.downstream, addr)
        fast = Reader().ask(bench.downstream, addr)
        await slow.sized.wait()
        late = Reader(pace=0).ask(bench.downstream, addr)
        assert await fast.whole() == BIG
        slow.go_on()
        late.go_on()
        assert (await slow.whole(), await late.whole()) == (BIG, BIG)
        assert bench.storage.asked.total() == 1


async def test_who_reads_slowly_what_is_not_kept_is_refused_and_holds_nobody_up() -> None:
    async with Bench(cache=0.1).running("storage") as bench:
        addr = bench.storage.has(BIG)
        slow = Reader(pace=1).ask(bench.downstream, addr)
        fast = Reader().ask(bench.downstream, addr)
        assert await fast.whole() == BIG
        slow.go_on()
        refusal = await slow.refusal()
    assert (refusal.code, refusal.token) == (408, "timeout")


@pytest.mark.parametrize("cache", [0.1, 0.5])
async def test_a_slow_reader_does_not_pull_the_body_into_memory(cache: float) -> None:
    size, sent = 512 << 20, 0
    addr = addr_of(b"never whole")

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Length": str(size)})
        await response.prepare(request)
        while True:
            await response.write(bytes(CHUNK_BYTES))
            sent += CHUNK_BYTES

    async with Bench(cache=cache, timeout_s=5.0).running("storage") as bench:
        bench.storage.page(f"/o/{addr}", endless)
        reader = Reader(pace=2).ask(bench.downstream, addr)
        await reader.sized.wait()
        before = -1
        while before != sent:  # until the server can send no more
            before = sent
            await asyncio.sleep(0.05)
        flight = bench.downstream._open[addr]
        assert flight.held_bytes <= 4 * CHUNK_BYTES
        assert sent < 16 << 20  # what the two sockets of a loopback connection take in
        reader.leave()
    assert bench.downstream.busy == 0


@pytest.mark.parametrize("cache", [0.5, 0.1])
@pytest.mark.parametrize("data", [BIG, SMALL])
async def test_the_last_chunk_of_other_bytes_is_withheld(cache: float, data: bytes) -> None:
    async with Bench(cache=cache).running("storage") as bench:
        addr = addr_of(b"something else")
        bench.storage.says(f"/o/{addr}", body=data)
        reader = Reader().ask(bench.downstream, addr)
        refusal = await reader.refusal()
        assert (refusal.code, refusal.token) == (500, "internal")
        whole_chunks = (len(data) - 1) // CHUNK_BYTES * CHUNK_BYTES
        assert len(reader.data) == whole_chunks
        assert (reader.size is None) == (data is SMALL)
        assert (bench.store.object_count, bench.store.reserved_bytes) == (0, 0)
        assert bench.downstream.health()["storage"].ok
    assert bench.downstream.flights == {"failed": 1}


LIES: list[tuple[str, tuple[bytes, ...], str, int]] = [
    ("stalls before the head", (), "stall", 504),
    ("stalls before the first chunk", (head(len(BIG)), BIG[:9]), "stall", 504),
    ("stalls in the middle", (head(len(BIG)), BIG[: 3 * CHUNK_BYTES]), "stall", 504),
    ("stalls before the last byte", (head(len(BIG)), BIG[:-1]), "stall", 504),
    ("closes without a word", (), "close", 503),
    ("resets without a word", (), "reset", 503),
    ("is shorter than announced", (head(len(BIG)), BIG[:-1]), "close", 503),
    ("breaks off in the middle", (head(len(BIG)), BIG[: 3 * CHUNK_BYTES]), "reset", 503),
    ("announces less than it sends", (head(len(BIG) - 1), BIG), "close", 500),
    ("announces no length", (b"HTTP/1.1 200 OK\r\n\r\n", BIG), "close", 500),
    ("announces two lengths", (head(len(BIG), "Content-Length: 5"), BIG), "close", 500),
    ("announces a negative length", (head(-5), BIG), "close", 500),
    ("announces no number", (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", BIG), "close", 500),
    ("is too large", (head(1 << 50), BIG), "stall", 413),
    ("is not HTTP", (b"SSH-2.0-OpenSSH_9.9\r\n",), "close", 500),
    ("has an endless header", (head(len(BIG), "X-A: " + "a" * 9000), BIG), "stall", 500),
    ("has endless headers", (head(len(BIG), *["X-A: a"] * 500), BIG), "stall", 500),
    ("is packed", (head(len(BIG), "Content-Encoding: gzip"), BIG), "close", 500),
    ("sends you on", (b"HTTP/1.1 302 Found\r\nLocation: /o/x\r\n\r\n",), "close", 500),
    ("has it no more", (b"HTTP/1.1 410 Gone\r\n\r\n",), "close", 404),
    ("is empty", (head(0),), "close", 500),
]  # fmt: skip


@pytest.mark.parametrize("cache", [0.5, 0.1])
@pytest.mark.parametrize(("parts", "then", "code"), [c[1:] for c in LIES], ids=[c[0] for c in LIES])
async def test_a_storage_that(parts: tuple[bytes, ...], then: str, code: int, cache: float) -> None:
    async with Bench(cache=cache, timeout_s=0.08).running("storage") as bench:
        addr = addr_of(BIG)
        bench.storage.writes(f"/o/{addr}", *parts, then=then)
        reader = Reader().ask(bench.downstream, addr)
        refusal = await reader.refusal()
        assert refusal.code == code
        assert (refusal.retry_after_ms is not None) == (code in (503, 504))
        assert len(reader.data) < len(BIG)
        assert BIG.startswith(reader.data)
        assert (bench.store.object_count, bench.store.reserved_bytes) == (0, 0)
        await until(lambda: not bench.downstream.busy)


async def test_a_body_without_end_is_cut_at_its_announced_length() -> None:
    addr = addr_of(BIG)

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        while True:
            await response.write(bytes(CHUNK_BYTES))

    async with Bench().running("storage") as bench:
        bench.storage.page(f"/o/{addr}", endless)
        assert (await Reader().ask(bench.downstream, addr).refusal()).code == 500


@pytest.mark.parametrize(
    ("status", "code", "attempts"),
    [(500, 503, 3), (503, 503, 3), (429, 503, 3), (403, 500, 1), (404, 404, 1), (206, 500, 1)],
)
async def test_only_what_may_pass_is_asked_again(status: int, code: int, attempts: int) -> None:
    async with Bench().running("storage") as bench:
        addr = addr_of(SMALL)
        bench.storage.says(f"/o/{addr}", status, body=SMALL)
        refusal = await Reader().ask(bench.downstream, addr).refusal()
        assert refusal.code == code
        assert bench.storage.asked["GET", f"/o/{addr}"] == attempts


async def test_a_second_attempt_may_bring_what_the_first_did_not() -> None:
    addr, times = addr_of(SMALL), 0

    async def moody(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal times
        times += 1
        return web.Response(status=500) if times == 1 else web.Response(body=SMALL)

    async with Bench().running("storage") as bench:
        bench.storage.page(f"/o/{addr}", moody)
        assert await Reader().ask(bench.downstream, addr).whole() == SMALL


async def test_retries_of_all_requests_together_stay_within_the_budget() -> None:
    async with Bench(failures=100).running("storage") as bench:
        readers = []
        for number in range(60):
            addr = addr_of(b"%d" % number)
            bench.storage.says(f"/o/{addr}", 500)
            readers.append(Reader().ask(bench.downstream, addr))
            await readers[-1].refusal()
        asked = bench.storage.asked.total()
        assert 60 + 10 <= asked <= 60 + 10 + 6 + 1
        assert bench.downstream.neighbours["storage"].budget.denied_total > 0


async def test_a_service_that_fails_is_left_alone_until_a_probe_finds_it_well() -> None:
    async with Bench(retries=0).running("storage") as bench:
        addr = addr_of(SMALL)
        bench.storage.says(f"/o/{addr}", 500)
        bench.storage.says("/healthz", 500)
        for _ in range(3):
            await Reader().ask(bench.downstream, addr).refusal()
        health = bench.downstream.health()["storage"]
        assert (health.ok, health.reason) == (False, "answered 500")
        bench.storage.has(SMALL)
        refusal = await Reader().ask(bench.downstream, addr).refusal()
        assert (refusal.code, bench.storage.asked["GET", f"/o/{addr}"]) == (503, 3)
        changes = bench.health_changes
        bench.storage.says("/healthz")
        await bench.changed(changes)  # nobody asks for anything meanwhile
        assert bench.downstream.health()["storage"].ok
        assert await Reader().ask(bench.downstream, addr).whole() == SMALL


async def test_wrong_bytes_of_one_object_do_not_close_the_service_for_others() -> None:
    async with Bench(retries=0).running("storage") as bench:
        bad, good = addr_of(b"bad"), bench.storage.has(SMALL)
        bench.storage.says(f"/o/{bad}", body=b"worse")
        for _ in range(10):
            assert (await Reader().ask(bench.downstream, bad).refusal()).code == 500
        assert await Reader().ask(bench.downstream, good).whole() == SMALL


async def test_when_the_last_one_leaves_the_transfer_ends() -> None:
    async with Bench().running("storage") as bench:
        addr = addr_of(BIG)
        bench.storage.writes(f"/o/{addr}", head(len(BIG)), BIG[: 2 * CHUNK_BYTES])
        readers = [Reader().ask(bench.downstream, addr) for _ in range(2)]
        await readers[0].sized.wait()
        assert bench.store.reserved_bytes == len(BIG)
        readers[0].leave()
        assert bench.downstream.busy == 1
        readers[1].leave()
        await until(lambda: not bench.downstream.busy)
        assert bench.store.reserved_bytes == 0
        Reader().ask(bench.downstream, addr).leave()  # before anything was sent
        await until(lambda: not bench.downstream.busy)
    assert bench.downstream.flights == {"left": 2}


async def test_more_than_may_be_handed_on_is_refused_at_once() -> None:
    async with Bench(max_flights=1).running("storage") as bench:
        bench.storage.writes(f"/o/{addr_of(BIG)}")
        first = Reader().ask(bench.downstream, addr_of(BIG))
        with pytest.raises(Refused, match="limit 1") as caught:
            Reader().ask(bench.downstream, addr_of(SMALL))
        assert (caught.value.code, caught.value.token) == (503, "busy")
        assert (await first.refusal()).code == 504


async def test_a_purge_of_the_store_does_not_end_what_flows() -> None:
    gate = asyncio.Event()
    addr = addr_of(BIG)

    async def halting(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(BIG))})
        await response.prepare(request)
        await response.write(BIG[:CHUNK_BYTES])
        await gate.wait()
        await response.write(BIG[CHUNK_BYTES:])
        return response

    async with Bench(timeout_s=2.0).running("storage") as bench:
        bench.storage.page(f"/o/{addr}", halting)
        reader = Reader().ask(bench.downstream, addr)
        await reader.sized.wait()
        assert bench.store.purge().uploads == 1
        gate.set()
        assert await reader.whole() == BIG
        assert bench.store.object_count == 0


async def test_at_the_end_everyone_who_waits_is_refused() -> None:
    async with Bench(timeout_s=9.0, deadline_s=9.0).running("storage", "mailbox") as bench:
        bench.storage.writes(f"/o/{addr_of(BIG)}", head(len(BIG)), BIG[: 2 * CHUNK_BYTES])
        bench.storage.writes(f"/o/{addr_of(SMALL)}")
        readers = [Reader().ask(bench.downstream, addr_of(data)) for data in (BIG, SMALL)]
        told: list[Any] = []
        bench.downstream.look(addr_of(b"?"), on_answer=told.append, on_refused=told.append)
        await readers[0].sized.wait()
    assert [(await reader.refusal()).token for reader in readers] == ["draining", "draining"]
    with pytest.raises(Refused, match="no connection") as caught:
        Reader().ask(bench.downstream, addr_of(BIG))
    assert caught.value.token == "not_ready"
    assert bench.downstream.busy == 0


# -- the index --------------------------------------------------------------------------


async def test_what_the_index_does_not_know_is_not_looked_for() -> None:
    async with Bench().running("index", "storage") as bench:
        addr = bench.storage.has(SMALL)
        refusal = await Reader().ask(bench.downstream, addr).refusal()
        assert (refusal.code, bench.storage.asked.total()) == (404, 0)
        bench.index.says(f"/resolve/{addr}", text=f'{{"key":"{addr}","providers":[]}}')
        assert (await Reader().ask(bench.downstream, addr).refusal()).code == 404
        text = f'{{"key":"{addr}","providers":[{{"id":"http://10.9.9.9/","score":1}}]}}'
        bench.index.says(f"/resolve/{addr}", text=text)
        assert await Reader().ask(bench.downstream, addr).whole() == SMALL


@pytest.mark.parametrize(
    "more",
    [
        {"status": 500},
        {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}},
        {"text": "[]"},
        {"text": "[" * 60_000},
        {"text": "{}"},
        {"text": '{"key":"b3:other","providers":[{"id":"x"}]}'},
        {"text": '{"providers":"' + "x" * (65 << 10)},
    ],
)
async def test_an_index_in_trouble_is_passed_by(more: dict[str, Any]) -> None:
    async with Bench(retries=0).running("index", "storage") as bench:
        addr = bench.storage.has(SMALL)
        bench.index.says(f"/resolve/{addr}", **more)
        assert await Reader().ask(bench.downstream, addr).whole() == SMALL


# -- sizes, mail, copies ----------------------------------------------------------------


class Told:
    """Waits for a short answer."""

    def __init__(self) -> None:
        self.said: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def answer(self, answer: bytes) -> None:
        self.said.set_result(answer)

    def refused(self, refusal: Refused) -> None:
        self.said.set_exception(refusal)


async def test_a_size_is_asked_for_once_by_all_who_want_to_know() -> None:
    async with Bench().running("storage") as bench:
        addr = bench.storage.has(BIG)
        told = [Told() for _ in range(5)]
        for one in told:
            bench.downstream.look(addr, on_answer=one.answer, on_refused=one.refused)
        assert [await one.said for one in told] == [b"%d" % len(BIG)] * 5
        assert bench.storage.asked == {("HEAD", f"/o/{addr}"): 1}
        missing = Told()
        bench.downstream.look(addr_of(b"?"), on_answer=missing.answer, on_refused=missing.refused)
        with pytest.raises(Refused) as caught:
            await missing.said
        assert caught.value.code == 404


@pytest.mark.parametrize(
    ("payload", "path", "body"),
    [
        (b'{"op":"send","to":"a","n":[1]}', "/v1/send", b'{"to":"a","n":[1]}'),
        (b'{"op":"recv"}', "/v1/recv", b"{}"),
        (b'{"op":"ack","id":"m-1.2"}', "/v1/ack/m-1.2", b"{}"),
    ],
)
async def test_mail_is_handed_on_and_its_answer_back(
    payload: bytes, path: str, body: bytes
) -> None:
    async with Bench().running("mailbox") as bench:
        bench.mailbox.says(path, method="POST", text='{"id":"m-1"}')
        told = Told()
        bench.downstream.mail(payload, on_answer=told.answer, on_refused=told.refused)
        assert await told.said == b'{"id":"m-1"}'
        assert bench.mailbox.bodies == [body]


async def test_mail_that_may_have_been_sent_is_not_sent_again() -> None:
    async with Bench().running("mailbox") as bench:
        for path in ("/v1/send", "/v1/ack/1"):
            bench.mailbox.says(path, 500, "POST")
        for payload in (b'{"op":"send"}', b'{"op":"ack","id":"1"}'):
            told = Told()
            bench.downstream.mail(payload, on_answer=told.answer, on_refused=told.refused)
            with pytest.raises(Refused):
                await told.said
        assert bench.mailbox.asked == {("POST", "/v1/send"): 1, ("POST", "/v1/ack/1"): 2}


async def test_what_is_put_here_is_put_into_the_storage_too() -> None:
    async with Bench(write_through=True).running("storage") as bench:
        came: asyncio.Queue[bytes] = asyncio.Queue()

        async def take(request: web.BaseRequest) -> web.StreamResponse:
            assert request.headers["Content-Length"] == str(len(BIG))
            came.put_nowait(await web.Request.read(request))  # type: ignore[arg-type]
            return web.Response(status=201)

        bench.storage.page(f"/o/{addr_of(BIG)}", take, "PUT")
        upload = bench.store.begin(len(BIG), None, now=0)
        upload.write(BIG)
        bench.downstream.stored(upload.commit(now=asyncio.get_running_loop().time()))
        bench.downstream.stored(addr_of(b"never here"))
        assert await came.get() == BIG
        await until(lambda: not bench.downstream.copies)
    assert bench.downstream.copies.outcomes == {"sent": 1, "gone": 1}


async def test_without_write_through_nothing_is_sent() -> None:
    async with Bench().running("storage") as bench:
        bench.downstream.stored(addr_of(BIG))
        assert len(bench.downstream.copies) == 0
