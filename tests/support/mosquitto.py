"""A real broker as a process of its own, on loopback, that can be killed and started again."""

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
MISSING = "the Debian package mosquitto is not installed"


class Mosquitto:
    """One broker; its port stays the same over its lives."""

    def __init__(self) -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port: int = sock.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it, and return when it takes connections."""
        process = self._process = self._spawn()
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                await writer.wait_closed()
                return
            assert process.poll() is None, "the broker ended"
            await asyncio.sleep(0.01)

    def _spawn(self) -> "subprocess.Popen[bytes]":
        assert MOSQUITTO
        # Without a config it listens on loopback only.
        return subprocess.Popen([MOSQUITTO, "-p", str(self.port)], stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        """End it without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@asynccontextmanager
async def mosquitto() -> AsyncIterator[Mosquitto]:
    """A running broker."""
    broker = Mosquitto()
    try:
        await broker.start()
        yield broker
    finally:
        broker.kill()
