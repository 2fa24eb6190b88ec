"""Broker: a connection that leaves nothing behind, to a real broker and to bad ones."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import aiomqtt
import pytest

from overlay_edge.bridge.audit import trust
from overlay_edge.bridge.broker import RECEIVE_MAXIMUM, Broker, Inbox, open_broker
from overlay_edge.bridge.mqtt_message import Heard, Will
from overlay_edge.config.url import Url, split_url
from overlay_edge.errors import TransportError
from tests.support.identity import identity
from tests.support.mosquitto import FAST, MISSING, MOSQUITTO, mosquitto, password_file
from tests.support.sealed import sealed

needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason=MISSING)
WILL = Will("state", b"offline", 60)


def opened(url: Url, **changes: Any) -> AbstractAsyncContextManager[Broker]:
    given = {
        "client_id": "edge",
        "secret": None,
        "will": WILL,
        "inbox": Inbox(100, 1 << 20),
        "timeout_s": 5.0,
        "is_fresh": True,
        **changes,
    }
    return open_broker(url, given.pop("context", None), **given)


def at(port: int) -> Url:
    return split_url(f"mqtt://127.0.0.1:{port}")


async def heard(broker: Broker, count: int = 1) -> list[Heard]:
    """The next messages, acknowledged."""
    found = []
    async with asyncio.timeout(10):
        async for message in broker.heard():
            broker.acknowledge(message)
            found.append(message)
            if len(found) == count:
                break
    return found


@asynccontextmanager
async def saying(answer: bytes | None) -> AsyncIterator[Url]:
    """A server that answers once and hangs up, or accepts and is silent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read(1 << 16)
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield at(server.sockets[0].getsockname()[1])


def held() -> tuple[int, int]:
    """Descriptors and tasks of this process."""
    return len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())


async def nothing_left(before: tuple[int, int]) -> None:
    async with asyncio.timeout(5):
        while any(now > then for now, then in zip(held(), before, strict=True)):  # noqa: ASYNC110 - the other end closes in its own time
            await asyncio.sleep(0.001)


async def test_a_silent_broker_leaves_no_socket_and_no_task_behind() -> None:
    async with saying(None) as url:
        before = held()
        for _ in range(3):
            with pytest.raises(TransportError, match=r"no answer within 0\.01 s"):
                async with opened(url, timeout_s=0.01):
                    pass
        await nothing_left(before)


async def test_an_attempt_that_is_cancelled_leaves_nothing_behind() -> None:
    async with saying(None) as url:
        before = held()

        async def attempt() -> None:
            async with opened(url):
                pass

        for turns in range(8):  # wherever it is by then
            task = asyncio.create_task(attempt())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await nothing_left(before)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "hung up, expected MQTT 5"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "hung up, expected MQTT 5"),
        (b"\x20\x03\x00\x87\x00", "Not authorized"),
        (b"\x20\x03\x00\x84\x00", "Unsupported protocol version"),
    ],
)
async def test_a_refusal_is_told_in_words(answer: bytes, reason: str) -> None:
    async with saying(answer) as url:
        with pytest.raises(TransportError, match=reason):
            async with opened(url):
                pass


async def test_where_nobody_listens_that_is_told() -> None:
    with pytest.raises(OSError, match="Connect call failed"):
        async with opened(at(1)):
            pass


@needs_broker
async def test_messages_carry_their_tags_there_and_back() -> None:
    async with mosquitto(FAST) as server, opened(at(server.port)) as broker:
        await broker.subscribe("a/#", 1, no_local=False)
        tags = (("oe-id", "me.1.1"), ("oe-origin", "me"), ("other", "é"))
        assert await broker.publish("a/b", b"\0\xff", qos=1, properties=tags) == ""
        assert await broker.publish("a/c", b"", qos=0) == ""
        tagged, plain = await heard(broker, 2)
        assert (tagged.topic, tagged.data, tagged.tag, tagged.origin) == (
            "a/b",
            b"\0\xff",
            "me.1.1",
            "me",
        )
        assert (plain.topic, plain.data, plain.qos, plain.tag) == ("a/c", b"", 0, "")


@needs_broker
async def test_what_we_publish_does_not_come_back() -> None:
    async with mosquitto(FAST) as server, opened(at(server.port)) as broker:
        await broker.subscribe("a", 1)
        await broker.publish("a", b"ours", qos=1)
        async with opened(at(server.port), client_id="other") as other:
            await other.publish("a", b"theirs", qos=1)
        assert [one.data for one in await heard(broker)] == [b"theirs"]


@needs_broker
async def test_what_is_retained_is_sent_only_if_asked_for() -> None:
    async with mosquitto(FAST) as server, opened(at(server.port)) as broker:
        await broker.publish("a/old", b"old", qos=1, retain=True)
        async with opened(at(server.port), client_id="other") as other:
            await other.subscribe("a/#", 1)
            await broker.publish("a/new", b"new", qos=1)
            assert [one.data for one in await heard(other)] == [b"new"]
            await other.subscribe("a/#", 1, retained=True)
            assert [one.data for one in await heard(other)] == [b"old"]


@needs_broker
async def test_the_will_is_said_when_the_connection_breaks_and_not_when_it_ends() -> None:
    async with mosquitto(FAST) as server, opened(at(server.port), client_id="other") as other:
        await other.subscribe("state", 1, retained=True)
        async with opened(at(server.port)) as broker:
            pass
        with suppress(ZeroDivisionError):
            async with opened(at(server.port)) as broker:
                await broker.publish("state", b"online", qos=1)
                raise ZeroDivisionError
        assert [one.data for one in await heard(other, 2)] == [b"online", b"offline"]


@needs_broker
async def test_the_brokers_receive_maximum_is_told() -> None:
    settings = f"{FAST}\nmax_inflight_messages 5"
    async with mosquitto(settings) as server, opened(at(server.port)) as broker:
        assert broker.inflight == 5


@needs_broker
async def test_the_broker_waits_for_our_acknowledgements() -> None:
    total = 3 * RECEIVE_MAXIMUM
    inbox = Inbox(100, 1 << 20)
    async with mosquitto(FAST) as server, opened(at(server.port), inbox=inbox) as broker:
        await broker.subscribe("a", 1, no_local=False)
        for number in range(total):
            await broker.publish("a", b"%d" % number, qos=1)
        async with asyncio.timeout(5):
            while inbox.qsize() < RECEIVE_MAXIMUM:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        await broker.publish("b", b"", qos=1)  # a round trip: nothing more is on its way
        assert inbox.qsize() == RECEIVE_MAXIMUM
        found = await heard(broker, total)
        assert [one.data for one in found] == [b"%d" % number for number in range(total)]


@needs_broker
async def test_what_was_not_acknowledged_comes_again_over_the_next_connection() -> None:
    async with mosquitto(FAST) as server:
        async with opened(at(server.port)) as broker:
            assert not broker.has_session
            await broker.subscribe("a", 1, no_local=False)
            await broker.publish("a", b"1", qos=1)
            async for _ in broker.heard():
                break
        async with opened(at(server.port), is_fresh=False) as broker:
            assert broker.has_session
            assert [one.data for one in await heard(broker)] == [b"1"]


@needs_broker
async def test_who_listens_is_told_that_the_broker_is_gone() -> None:
    async with mosquitto(FAST) as server, opened(at(server.port)) as broker:
        server.kill()
        with pytest.raises(TransportError):
            await heard(broker)
        with pytest.raises(TransportError):
            await broker.publish("a", b"", qos=1)
        with pytest.raises(TransportError):
            await broker.subscribe("a", 1)


@needs_broker
async def test_a_publication_that_is_refused_is_told() -> None:
    rules = b"topic read #\ntopic write allowed\ntopic write state\n"
    async with (
        mosquitto(FAST, acl_file=rules) as server,
        opened(at(server.port)) as broker,
    ):
        assert await broker.publish("allowed", b"", qos=1) == ""
        assert "authorized" in await broker.publish("forbidden", b"", qos=1)


@needs_broker
async def test_credentials_are_shown_and_not_kept() -> None:
    known = password_file("edge", "correct:horse")
    async with mosquitto("allow_anonymous false", password_file=known) as server:
        async with opened(at(server.port), secret=sealed(b"edge:correct:horse")) as broker:
            await broker.publish("a", b"", qos=1)
            assert broker._paho._password == bytes(13)
            assert broker._paho._username == bytes(4)
        for wrong in (b"edge:wrong", b"edge", b""):
            with pytest.raises(TransportError, match=r"Not authorized|Bad user name"):
                async with opened(at(server.port), secret=sealed(wrong)):
                    pass


@needs_broker
async def test_tls_is_only_spoken_with_whom_we_trust() -> None:
    cert, key = identity()
    async with mosquitto(FAST, certfile=cert, keyfile=key) as server:
        url = split_url(f"mqtts://127.0.0.1:{server.port}")
        async with opened(url, context=trust("mqtt.ca", cert)) as broker:
            await broker.subscribe("a", 1, no_local=False)
            await broker.publish("a", bytes(100_000), qos=1)
            assert [len(one.data) for one in await heard(broker)] == [100_000]
        before = held()
        with pytest.raises(ssl.SSLCertVerificationError):
            async with opened(url, context=trust("mqtt.ca", identity()[0])):
                pass
        await nothing_left(before)


async def test_a_broker_that_is_silent_in_tls_is_given_up() -> None:
    async with saying(None) as url:
        before = held()
        with pytest.raises(TimeoutError):
            async with opened(url, context=trust("mqtt.ca", b""), timeout_s=0.02):
                pass
        await nothing_left(before)


def message(qos: int, size: int = 1) -> aiomqtt.Message:
    return aiomqtt.Message("a", bytes(size), qos, False, 1, None)


async def test_an_inbox_that_is_full_counts_what_wants_no_answer() -> None:
    inbox = Inbox(2, 1 << 20)
    for _ in range(4):
        inbox.put_nowait(message(0))
    inbox.put_nowait(message(1))  # the broker sends few of these
    assert (inbox.qsize(), inbox.shed_total) == (3, 2)
    while not inbox.empty():
        inbox.get_nowait()
    assert inbox.held_bytes == 0


async def test_an_inbox_is_bounded_by_bytes() -> None:
    inbox = Inbox(100, 10_000)
    for _ in range(4):
        inbox.put_nowait(message(0, 5000))
    assert (inbox.qsize(), inbox.shed_total) == (2, 2)
