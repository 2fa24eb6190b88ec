"""A real broker as a process of its own, on loopback, that can be killed and started again."""

import asyncio
import getpass
import hashlib
import os
import shutil
import signal
import socket
import subprocess
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
MISSING = "the Debian package mosquitto is not installed"


# Answers that wait 40 ms for one another make a test slow.
FAST = "allow_anonymous true\nset_tcp_nodelay true"


class Mosquitto:
    """One broker; its port stays the same over its lives.

    Args:
        settings: Lines of its configuration; empty: everybody may do everything.
        files: What is in the files that further settings name.
    """

    def __init__(self, settings: str = "", **files: bytes) -> None:
        self._settings = settings
        self._files = files
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
        if not self._settings:  # then it listens on loopback only
            return subprocess.Popen([MOSQUITTO, "-p", str(self.port)], stderr=subprocess.DEVNULL)
        fds: list[int] = []
        lines = [f"listener {self.port} 127.0.0.1", self._settings]
        lines += [f"user {getpass.getuser()}"] if os.getuid() == 0 else []
        try:
            for key, data in self._files.items():
                fds.append(memory_file(data))
                lines.append(f"{key} /proc/self/fd/{fds[-1]}")
            fds.append(memory_file("\n".join([*lines, ""]).encode()))
            return subprocess.Popen(
                [MOSQUITTO, "-c", f"/proc/self/fd/{fds[-1]}"],
                stderr=subprocess.DEVNULL,
                pass_fds=fds,
            )
        finally:
            for fd in fds:
                os.close(fd)

    def stall(self, is_stalled: bool) -> None:
        """Let it hold every connection and say nothing, or go on."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP if is_stalled else signal.SIGCONT)

    def kill(self) -> None:
        """End it without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def memory_file(data: bytes) -> int:
    """A descriptor of a file with these bytes, on no disk."""
    fd = os.memfd_create("mosquitto")
    os.write(fd, data)
    return fd


def password_file(user: str, password: str) -> bytes:
    """One line of what mosquitto_passwd writes."""
    salt = os.urandom(12)
    made = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return b"%s:$7$101$%s$%s\n" % (user.encode(), b64encode(salt), b64encode(made))


@asynccontextmanager
async def mosquitto(settings: str = "", **files: bytes) -> AsyncIterator[Mosquitto]:
    """A running broker."""
    broker = Mosquitto(settings, **files)
    try:
        await broker.start()
        yield broker
    finally:
        broker.kill()
