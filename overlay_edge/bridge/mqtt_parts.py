"""MQTT parts: a bridge as the settings want it, with what their files hold."""

import asyncio
import importlib
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from overlay_edge.bridge.audit import require_one_line, trust
from overlay_edge.bridge.meshport import MeshPort
from overlay_edge.bridge.mqtt_bridge import MqttBridge
from overlay_edge.bridge.mqtt_message import Will
from overlay_edge.config import MqttConfig
from overlay_edge.config.url import split_url
from overlay_edge.host.clock import monotonic, wall
from overlay_edge.host.files import read_private, read_public
from overlay_edge.host.journal import Journal
from overlay_edge.proto.telemetry import Telemetry

if TYPE_CHECKING:
    from overlay_edge.bridge.broker import Broker


def make_bridge(
    config: MqttConfig,
    port: MeshPort | None,
    *,
    telemetry: Telemetry | None,
    tell: Callable[[], Coroutine[Any, Any, None]] | None = None,
    name: str,
    journal: Journal,
    on_change: Callable[[str], None],
) -> MqttBridge:
    """The bridge of the settings, with what its files hold.

    Raises:
        IdentityError: A file cannot be read, or others may read it.
        ConfigError: The authorities or credentials cannot be used.
    """
    url = split_url(config.url)
    ca = read_public("mqtt.ca", config.ca) if config.ca else b""
    context = trust("mqtt.ca", ca) if url.is_tls else None
    secret = None
    if config.credentials:
        secret = read_private("mqtt.credentials", config.credentials)
        require_one_line("mqtt.credentials", secret)

    @asynccontextmanager
    async def dial(will: Will, is_fresh: bool) -> AsyncIterator["Broker"]:
        # paho takes long to load: nobody waits for it.
        module = await asyncio.to_thread(importlib.import_module, "overlay_edge.bridge.broker")
        async with module.open_broker(
            url,
            context,
            client_id=f"oe-{name}",
            secret=secret,
            will=will,
            inbox=module.Inbox(config.backlog_messages, config.backlog_bytes),
            timeout_s=config.timeout_s,
            is_fresh=is_fresh,
        ) as broker:
            yield broker

    return MqttBridge(
        config,
        port,
        dial,
        telemetry=telemetry,
        name=name,
        journal=journal,
        on_change=on_change,
        sleep=asyncio.sleep,
        dice=random.random,
        clock=monotonic,
        wall=wall,
        tell=tell,
        credentials=secret,
    )
