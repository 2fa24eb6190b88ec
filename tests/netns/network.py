"""A network of namespaces: one for each host, one for the switches between them.

    host 1 --veth--+
    host 2 --veth--+-- switch a     a host's cable may be pulled, or plugged into the other
    host 3 --veth--+   switch b     switch: that splits the network in two

The test itself stays outside. To reach a port of a host it has a doorway: a thread that lives in
the host's namespace and carries bytes from a loopback port outside to one inside.
"""

import asyncio
import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

CLONE_NEWNET = 0x40000000
SUBNET = "10.99.0"
PORT = 9444


def why_not() -> str:
    """Why this machine has no namespaces for us; empty = it has."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"oe{os.getpid()}x"
    done = ip("netns", "add", name, check=False)
    if done:
        return f"no network namespaces: {done}"
    trouble = ip("-n", name, "link", "add", "switch", "type", "bridge", check=False)
    ip("netns", "del", name, check=False)
    return f"no bridges: {trouble}" if trouble else ""


def ip(*words: str, check: bool = True) -> str:
    """Run ip(8); what it complains about, or nothing."""
    try:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    if check and done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stderr.strip() if done.returncode else ""


class Network:
    """Hosts 1 to ``size``, all on switch a."""

    def __init__(self, size: int) -> None:
        self._prefix = f"oe{os.getpid()}"
        self._hub = f"{self._prefix}hub"
        self._doorways: list[_Doorway] = []
        self.size = size

    def space(self, host: int) -> str:
        """Its namespace."""
        return f"{self._prefix}h{host}"

    def addr(self, host: int) -> str:
        """Where its edge listens."""
        return f"{SUBNET}.{host}:{PORT}"

    def build(self) -> None:
        """Make everything."""
        ip("netns", "add", self._hub)
        for switch in "ab":
            ip("-n", self._hub, "link", "add", f"switch_{switch}", "type", "bridge")
            ip("-n", self._hub, "link", "set", f"switch_{switch}", "up")
        for host in range(1, self.size + 1):
            self.add_host(host)

    def add_host(self, host: int) -> None:
        """One more, on switch a."""
        space, cable = self.space(host), f"c{host}"
        ip("netns", "add", space)
        ip("-n", self._hub, "link", "add", cable, "type", "veth", "peer", "eth0", "netns", space)
        ip("-n", space, "addr", "add", f"{SUBNET}.{host}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", space, "link", "set", device, "up")
        self.plug(host, "a")
        self.pull(host, False)

    def pull(self, host: int, is_out: bool = True) -> None:
        """Pull its cable, or put it back: nobody is told, packets are just gone."""
        ip("-n", self._hub, "link", "set", f"c{host}", "down" if is_out else "up")

    def plug(self, host: int, switch: str) -> None:
        """Plug its cable into a switch."""
        ip("-n", self._hub, "link", "set", f"c{host}", "master", f"switch_{switch}")

    def doorway(self, host: int, inside: tuple[str, int]) -> str:
        """An address out here that leads to one in there."""
        door = _Doorway(self.space(host), inside)
        self._doorways.append(door)
        return door.address

    def destroy(self) -> None:
        """Leave nothing."""
        for door in self._doorways:
            door.close()
        for space in Path("/run/netns").glob(f"{self._prefix}*"):
            ip("netns", "del", space.name, check=False)


class _Doorway:
    """A loop in a thread of its own, as a namespace belongs to a thread."""

    def __init__(self, space: str, inside: tuple[str, int]) -> None:
        self._space = space
        self._inside = inside
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._sock.getsockname()[1]}"
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._sock.close()

    def _run(self) -> None:
        with open(f"/run/netns/{self._space}") as space:
            if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"setns {self._space}")
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._carry, sock=self._sock)  # plain bytes, no TLS of ours
        )
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._inside)
        except OSError:
            writer.transport.abort()
            return
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(reader, far_writer))
                both.create_task(_pump(far_reader, writer))
        finally:
            for one in (writer, far_writer):
                one.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


@contextmanager
def network(size: int) -> Iterator[Network]:
    """A network that is gone at the end."""
    made = Network(size)
    try:
        made.build()
        yield made
    finally:
        made.destroy()
