"""MQTT: our few packets against a real broker, and against one that misbehaves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiomqtt
import pytest

from overlay_edge.bridge.mqtt import open_broker
from overlay_edge.config.url import Url, split_url
from overlay_edge.errors import TransportError
from tests.support.mosquitto import MISSING, MOSQUITTO, mosquitto
from tests.support.sealed import sealed

needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason=MISSING)


@asynccontextmanager
async def saying(*answers: bytes) -> AsyncIterator[tuple[Url, list[bytes]]]:
    """A server that reads once before each answer, and then hangs up, or is silent at last."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for answer in answers:
                heard.append(await reader.read(1 << 16))
                writer.write(answer)
            if not answers:
                await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield split_url(f"mqtt://127.0.0.1:{port}/edge/audit"), heard


@needs_broker
async def test_lines_of_any_length_arrive_in_order_and_are_acknowledged() -> None:
    lines = ["", "a" * 120, "b" * 128, "c" * 4096, "d" * 20_000, "é"]
    async with mosquitto() as broker, aiomqtt.Client("127.0.0.1", broker.port) as subscriber:
        await subscriber.subscribe("edge/audit", qos=1)
        url = split_url(f"mqtt://127.0.0.1:{broker.port}/edge/audit")
        async with open_broker(url, None, "edge-1", sealed(b"user:word")) as deliver:
            await deliver(lines[:3])
            await deliver(lines[3:])
        heard = [str(message.payload, "utf-8") async for message in first(subscriber, len(lines))]
    assert heard == lines


async def first(client: aiomqtt.Client, count: int) -> AsyncIterator[aiomqtt.Message]:
    async for message in client.messages:
        yield message
        count -= 1
        if not count:
            return


async def test_the_greeting_is_the_one_of_the_standard() -> None:
    async with (
        saying(b"\x20\x02\x00\x00") as (url, heard),
        open_broker(url, None, "me", sealed(b"u:p:q")),
    ):
        pass
    assert heard == [b"\x10\x16\x00\x04MQTT\x04\xc2\x00\x00\x00\x02me\x00\x01u\x00\x03p:q"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"\x20\x02\x00\x05", "does not let us in"),
        (b"\x20\x02\x00\x63", "answers 99"),
        (b"\x20\x03\x00\x00\x00", "not an MQTT broker"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "hung up"),
        (b"\x20\xff\xff\xff\x7f", "sends over 1024 bytes"),
        (b"\x20\xff\x7f", "sends 16383 bytes"),
        (b"\x20", "hung up"),
        (b"", "hung up"),
    ],
)
async def test_a_broker_that_refuses_or_is_none_is_told_of(answer: bytes, reason: str) -> None:
    async with saying(answer) as (url, _):
        with pytest.raises(TransportError, match=reason):
            async with open_broker(url, None, "me", None):
                pytest.fail("it did not let us in")


async def test_a_batch_without_its_last_acknowledgement_is_not_delivered() -> None:
    answers = b"\x20\x02\x00\x00", b"\x40\x02\x00\x01"
    async with saying(*answers) as (url, _), open_broker(url, None, "me", None) as deliver:
        with pytest.raises((TransportError, ConnectionError)):
            await deliver(["one", "two"])


async def test_a_silent_broker_can_be_left_and_its_connection_is_closed() -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(100):
                pass
        except ConnectionError:
            pass
        writer.close()
        ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        broker = open_broker(split_url(f"mqtt://127.0.0.1:{port}/a"), None, "me", None)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(broker.__aenter__(), 0.05)
        async with asyncio.timeout(5):
            await ended.wait()
