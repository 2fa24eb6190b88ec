"""A node that means harm: it greets like any other, and then sends what costs the most."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Thread

from overlay_edge.config import DEFAULTS, PqMode
from overlay_edge.config.values import split_addr
from overlay_edge.link import Link
from overlay_edge.net.context import client_context
from overlay_edge.net.held import Held
from overlay_edge.net.identity import make_ephemeral
from overlay_edge.net.stream import StreamInfo, node_id
from overlay_edge.net.tls import TlsStream
from overlay_edge.proto.effects import Lane
from overlay_edge.proto.events import Event, Greeted
from overlay_edge.proto.frame import App
from overlay_edge.proto.gossip_codec import encode
from overlay_edge.proto.gossip_message import (
    Contact,
    Gossip,
    Graft,
    Ihave,
    Message,
    Neighbor,
    Shuffle,
    message_id,
)
from overlay_edge.proto.session import Session
from overlay_edge.proto.state import Role

BATCH = 50


class Hostile:
    """One connection that floods until it is closed; then it comes again.

    Attributes:
        sent: Payloads that were handed to the connection.
    """

    def __init__(self, address: str) -> None:
        from cryptography.hazmat.primitives.serialization import Encoding

        self.sent = 0
        self._address = address
        identity = Held(make_ephemeral())
        self._node = node_id(identity.chain[0].public_bytes(Encoding.DER))
        self._context = client_context(PqMode.HYBRID, has_aes=True, identity=identity)
        self._closed = asyncio.Event()
        self._is_greeted = False

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._closed.clear()
            self._is_greeted = False
            await self._once()
            await asyncio.sleep(0.5)

    async def _once(self) -> None:
        link = Link(self, self._session, handshake_timeout_s=5.0, write_timeout_s=5.0)
        stream = TlsStream(self._context, link, lambda _: None, is_server=False)
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: stream, *split_addr(self._address))
        except OSError:
            return
        link.attach(stream)
        try:
            while not self._closed.is_set():
                if self._is_greeted and link.session is not None and len(link.session.lane) < BATCH:
                    for message in harm():
                        link.session.notify(App.GOSSIP, encode(message), Lane.CONTROL)
                        self.sent += 1
                    link.pump()
                await asyncio.sleep(0.001)
        finally:
            link.abort()

    def _session(self, link: Link, info: StreamInfo) -> Session:
        config = replace(DEFAULTS.session(info.pq), node=self._node.hex())
        session = Session(Role.DIALLER, config, now=link.started)
        session.greet("hostile")
        return session

    def link_event(self, link: Link, event: Event) -> None:
        """Greeted: it asks for a place that nobody may refuse, and begins."""
        if isinstance(event, Greeted) and link.session is not None:
            link.session.notify(App.GOSSIP, encode(Neighbor(True, "")), Lane.CONTROL)
            self._is_greeted = True

    def link_closed(self, link: Link, reason: str) -> None:
        """It was sent away."""
        self._closed.set()


def harm() -> list[Message]:
    """Ids nobody has, publishers nobody is, topics nobody wants, nodes nobody knows."""
    who, topic = os.urandom(32), os.urandom(8).hex()
    made = Gossip(message_id(who, 1, 1), topic, who, 1, 1, 0, 0, os.urandom(200))
    ids = tuple(os.urandom(16) for _ in range(64))
    nodes = tuple(Contact(os.urandom(32), "192.0.2.1:9444") for _ in range(8))
    return [made, Ihave(topic, ids), Graft("t", ids[0]), Shuffle(1, 6, nodes)] * 5


@contextmanager
def flood(address: str) -> Iterator[Hostile]:
    """Flood a node, in a thread of its own, until the end."""
    loop = asyncio.new_event_loop()
    found: list[Hostile] = []

    async def build() -> None:
        found.append(Hostile(address))

    loop.run_until_complete(build())
    task = loop.create_task(found[0].run())
    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(task.cancel)
        loop.call_soon_threadsafe(loop.call_later, 0.5, loop.stop)
        thread.join()
        loop.close()
