"""A switch with machines on it, as network namespaces; needs root and iproute2."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from threading import Thread

ROOT = Path(__file__).parents[2]
_numbers = count()


def has_namespaces() -> bool:
    """True where this process may make networks of its own."""
    if os.geteuid() or not shutil.which("ip"):
        return False
    name = f"oe{os.getpid()}probe"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        return False
    done = subprocess.run(["ip", "-n", name, "link", "add", "x0", "type", "bridge"])
    subprocess.run(["ip", "netns", "del", name], check=True)
    return done.returncode == 0


class Node:
    """A discovery of its own, in a machine of its own."""

    def __init__(self, machine: str, process: "subprocess.Popen[str]") -> None:
        self.machine = machine
        self.lines: list[dict[str, object]] = []
        self.process = process
        self._reader = Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            with suppress(ValueError):
                self.lines.append(json.loads(line))

    def last(self, key: str) -> object:
        """What it said last about something; None = nothing."""
        return next((line[key] for line in reversed(self.lines) if key in line), None)

    def said(self, key: str, value: object) -> bool:
        return any(line.get(key) == value for line in self.lines)

    def kill(self) -> None:
        """It vanishes."""
        self.process.kill()
        self._end()

    def leave(self) -> None:
        """It says goodbye."""
        self.process.terminate()
        self._end()

    def _end(self) -> None:
        self.process.wait(10)
        self._reader.join(10)
        if self.process.stdout is not None:
            self.process.stdout.close()


class Switch:
    """The machines of one network, 10.77.0.1 and on."""

    def __init__(self, prefix: str, machines: int) -> None:
        self._prefix = prefix
        self._nodes: list[Node] = []
        self._hub = f"{prefix}s"
        self.names = [f"{prefix}{number}" for number in range(1, machines + 1)]

    def build(self) -> None:
        """Lay the cables; the machines' interfaces are up, and have no address yet."""
        _ip("netns", "add", self._hub)
        _ip("-n", self._hub, "link", "add", "sw0", "type", "bridge", "mcast_snooping", "0")
        _ip("-n", self._hub, "link", "set", "sw0", "up")
        for number, name in enumerate(self.names, 1):
            _ip("netns", "add", name)
            end = ["netns", name, "type", "veth", "peer", "name", f"p{number}", "netns", self._hub]
            _ip("link", "add", "eth0", *end)
            _ip("-n", self._hub, "link", "set", f"p{number}", "master", "sw0", "up")
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "link", "set", "eth0", "up")

    def address(self, number: int) -> str:
        """Give a machine its address, as DHCP would."""
        _ip("-n", self.names[number - 1], "addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
        return f"10.77.0.{number}"

    def run(self, number: int, *argv: str) -> "subprocess.CompletedProcess[str]":
        """Run a program on a machine."""
        full = ["ip", "netns", "exec", self.names[number - 1], *argv]
        return subprocess.run(full, capture_output=True, text=True, timeout=30, cwd=ROOT)

    def address_while(self, number: int, code: str) -> int:
        """Give a machine its address once a program there has said a line; returns its code."""
        full = ["ip", "netns", "exec", self.names[number - 1], sys.executable, "-c", code]
        with subprocess.Popen(full, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout is not None
            process.stdout.readline()
            self.address(number)
            return process.wait(20)

    @contextmanager
    def running(self, number: int, *argv: str) -> Iterator[list[str]]:
        """Run a program on a machine meanwhile; yields the lines it says."""
        full = ["ip", "netns", "exec", self.names[number - 1], *argv]
        lines: list[str] = []
        with subprocess.Popen(
            full, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            reader = Thread(target=lambda said: lines.extend(said), args=(process.stdout,))
            reader.start()
            try:
                yield lines
            finally:
                process.terminate()
                reader.join(10)

    def start(self, number: int, node: str, host: str = "", **options: object) -> Node:
        """Start a node on a machine."""
        settings = json.dumps({"node": node, "machine": host, **options})
        argv = [sys.executable, "-m", "tests.support.lan_node", settings]
        full = ["ip", "netns", "exec", self.names[number - 1], *argv]
        process = subprocess.Popen(full, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self._nodes.append(Node(self.names[number - 1], process))
        return self._nodes[-1]

    def close(self) -> None:
        """Stop everybody and pull the cables."""
        for node in self._nodes:
            node.kill()
        for name in (self._hub, *self.names):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


@contextmanager
def switch(machines: int) -> Iterator[Switch]:
    """A network of so many machines."""
    made = Switch(f"oe{os.getpid()}x{next(_numbers)}", machines)
    try:
        made.build()
        yield made
    finally:
        made.close()


def _ip(*argv: str) -> None:
    subprocess.run(["ip", *argv], check=True)
