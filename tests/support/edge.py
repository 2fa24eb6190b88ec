"""A real node on loopback, inside the test's own loop."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from overlay_edge.client import Client, connect
from overlay_edge.config import DEFAULTS, Config
from overlay_edge.ending import Ending
from overlay_edge.host.journal import Journal
from overlay_edge.node import Node
from tests.support.workstation import HAS_SWAP

LOCAL = replace(
    DEFAULTS,
    amnesia=not HAS_SWAP,
    oap=replace(DEFAULTS.oap, addr="127.0.0.1:0"),
    admin=replace(DEFAULTS.admin, addr="127.0.0.1:0"),
    readiness=replace(DEFAULTS.readiness, canary_interval_s=0.0),
)


class Edge:
    """A node that runs, and where it is."""

    def __init__(
        self,
        config: Config,
        *,
        config_error: str = "",
        read_config: Callable[[], Config] | None = None,
    ) -> None:
        self.lines: list[bytes] = []
        journal = Journal("debug", self.lines.append)
        self.node = Node(
            config,
            profile="generic",
            config_error=config_error,
            journal=journal,
            read_config=read_config,
        )
        self.task: asyncio.Task[Ending] | None = None

    @property
    def oap(self) -> str:
        return self.node.view.addresses()["oap"]

    @property
    def admin(self) -> str:
        return self.node.view.addresses()["admin"]

    @property
    def pin(self) -> str:
        return str(self.node.view.version()["fingerprint"])

    @property
    def log(self) -> str:
        return b"".join(self.lines).decode()

    def client(self, timeout_s: float = 5.0) -> contextlib.AbstractAsyncContextManager[Client]:
        return connect(self.oap, pin=self.pin, timeout_s=timeout_s)

    async def until(self, condition: object, *, what: str = "condition") -> None:
        """Wait for a condition of the node; it has no bell, so look each loop turn."""
        assert callable(condition)
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def edge(
    config: Config = LOCAL,
    *,
    config_error: str = "",
    read_config: Callable[[], Config] | None = None,
) -> AsyncIterator[Edge]:
    """Start a node, wait until all but what is asked for is up, and stop it at the end."""
    running = Edge(config, config_error=config_error, read_config=read_config)
    running.task = asyncio.create_task(running.node.run())
    try:
        await running.until(lambda: running.task.done() or '"event":"start"' in running.log)  # type: ignore[union-attr]
        if running.task.done():
            running.task.result()
        yield running
    finally:
        running.node.request_stop()
        await running.task
