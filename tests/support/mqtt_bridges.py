"""Bridges between a mesh that is a fake and a broker that is real."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiomqtt

from overlay_edge.bridge.mqtt_bridge import MqttBridge
from overlay_edge.bridge.mqtt_parts import make_bridge
from overlay_edge.config import MqttConfig
from overlay_edge.host.clock import monotonic
from overlay_edge.host.journal import Journal
from overlay_edge.proto.telemetry import Telemetry
from tests.support.fake_mesh import FakeHearing, FakePort

MIRROR: dict[str, Any] = {"out_topics": ("site/x -> plant/x",), "in_topics": ("plant/# -> site",)}


def config(port: int, **changes: Any) -> MqttConfig:
    """A bridge to a broker on loopback."""
    plain = {"url": f"mqtt://127.0.0.1:{port}", "insecure": True}
    return MqttConfig(**{**plain, **MIRROR, **changes})


class Gate:
    """Stands in for a sleep: it is over when the gate is open."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, _: float) -> None:
        await self.open.wait()


@asynccontextmanager
async def bridging(
    settings: MqttConfig,
    *ports: FakePort,
    telemetry: Telemetry | None = None,
    gate: Callable[[float], Awaitable[None]] | None = None,
) -> AsyncIterator[list[MqttBridge]]:
    """One bridge at each of some nodes; with telemetry alone if there are no nodes."""
    lines: list[bytes] = []
    bridges = [
        make_bridge(
            settings,
            port,
            telemetry=telemetry,
            name=port.id.hex()[:16] if port else "alone",
            journal=Journal("debug", lines.append),
            on_change=lambda _: None,
        )
        for port in ports or (None,)
    ]
    for bridge in bridges:
        bridge.sleep = gate or bridge.sleep
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(bridge.run()) for bridge in bridges]
        try:
            yield bridges
        finally:
            for task in tasks:
                task.cancel()
            for bridge in bridges:
                bridge.close()


async def until(condition: Callable[[], object], *, limit_s: float = 15) -> None:
    """Wait for something that rings no bell."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def connected(*bridges: MqttBridge) -> None:
    """Wait until all are, and one of them carries what is nobody's."""
    await until(lambda: not any(bridge.health() for bridge in bridges))
    await until(lambda: sum(bridge.crossing.is_lead for bridge in bridges) == 1)
    await until(lambda: all(bridge.crossing.is_settled(now=monotonic()) for bridge in bridges))


class Client:
    """A plain client of the broker; what it hears is in ``heard``."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self.client = client
        self.heard: list[aiomqtt.Message] = []
        # Not from its queue: that is left as it is when the broker dies.
        client._client.on_message = lambda _, __, found: self.heard.append(
            aiomqtt.Message._from_paho_message(found)
        )

    def payloads(self, topic: str) -> list[bytes]:
        """What was heard of a topic."""
        return [bytes(one.payload) for one in self.heard if str(one.topic) == topic]

    async def publish(self, topic: str, data: bytes, **more: Any) -> None:
        await self.client.publish(topic, data, qos=1, **more)


@asynccontextmanager
async def client(port: int, *filters: str, qos: int = 1) -> AsyncIterator[Client]:
    """A client that hears some filters; a broker that dies under it is no error."""
    inner = aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5)
    await inner.__aenter__()
    one = Client(inner)
    for pattern in filters:
        await inner.subscribe(pattern, qos=qos)
    try:
        yield one
    finally:
        with suppress(aiomqtt.MqttError):
            await inner.__aexit__(None, None, None)
        if inner._disconnected.done():
            inner._disconnected.exception()  # nobody else asks


def taken(hearing: FakeHearing) -> list[bytes]:
    """What a subscriber of the mesh has got, and take it."""
    found = []
    while (event := hearing.take()) is not None:
        found.append(event.data)
    return found
