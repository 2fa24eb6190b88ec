"""An admin plane with a control plane over a node made by hand, on a loop of its own."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from overlay_edge.admin.app import Admin
from overlay_edge.admin.control import ControlPlane
from overlay_edge.bus import Bus, Event
from overlay_edge.config import ControlConfig
from overlay_edge.proto.audit import AuditLog
from overlay_edge.proto.chain import Kind
from tests.support.hand_controls import HandControls, authorize
from tests.support.hand_view import HandView


class Controlled:
    """What a verb finds at the other end; blocking tests may use it from their own thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.controls = HandControls()
        self.bus = Bus()
        self.audit = AuditLog(writer="edge", boot="b1", max_records=50, max_bytes=1 << 20)
        self.plane = ControlPlane(
            self.controls, self.bus, self.audit, ControlConfig(), authorize=authorize
        )
        self.address = ""
        self._loop = loop

    def publish_once_heard(self, *events: Event) -> None:
        """Publish these when somebody listens, and end the stream."""

        def publish() -> None:
            if not self.plane.streaming:
                self._loop.call_later(0.001, publish)
                return
            for event in events:
                self.bus.publish(event)
            self.plane.close()

        self._loop.call_soon_threadsafe(publish)

    def write(self, count: int) -> None:
        """Write records before anybody asks."""
        for number in range(count):
            self.audit.append(Kind.PURGE, ts_ms=number, subject={"name": f"o{number}"})


@contextmanager
def controlled(view: HandView | None = None) -> Iterator[Controlled]:
    """Serve it on loopback."""
    loop = asyncio.new_event_loop()
    sock = socket.create_server(("127.0.0.1", 0))
    found = Controlled(loop)

    async def build() -> Admin:
        admin = Admin(view or HandView(), sock, found.plane)
        await admin.start()
        return admin

    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        admin = asyncio.run_coroutine_threadsafe(build(), loop).result(5)
        found.address = admin.address
        yield found
        asyncio.run_coroutine_threadsafe(admin.close(), loop).result(5)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
