"""Wires: hosts of their own on one machine, each a network namespace, and cables to pull.

    host 1 --cable--+                     +--cable-- host 5
    host 2 --cable--+-- left ==trunk== right --cable-- host 6
    ...

Bridges and cables live in a namespace, too: nothing is added to the machine's own network, and
all of it is gone when the namespaces are.
"""

import ctypes
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "oedge"
SWITCH = "switch"
LEFT, RIGHT = "left", "right"
CLONE_NEWNET = 0x40000000
NET = "10.90.0"


def missing() -> str:
    """Why there can be no hosts here; empty = there can."""
    if os.geteuid() != 0:
        return "not root: network namespaces cannot be made"
    if shutil.which("ip") is None:
        return "no ip command: install iproute2"
    name = f"{PREFIX}{os.getpid()}-probe"
    try:
        ip("netns", "add", name)
        ip("-n", name, "link", "add", "name", "one", "type", "bridge")
        ip("-n", name, "link", "add", "name", "two", "type", "veth", "peer", "name", "six")
    except WiresError as error:
        return f"no rights or no kernel support for namespaces, bridges and veth: {error}"
    finally:
        with suppress(WiresError):
            ip("netns", "del", name)
    return ""


class WiresError(Exception):
    """`ip` refused."""


def ip(*argv: str, lines: Sequence[str] = ()) -> str:
    """Run ``ip``; lines are a batch of its commands."""
    text = "".join(f"{line}\n" for line in lines)
    argv = (*argv, "-batch", "-") if lines else argv
    done = subprocess.run(["ip", *argv], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WiresError(f"ip {' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


class Wires:
    """Hosts 1 to ``size``; the first half hangs on the left bridge, the others on the right.

    Args:
        size: Hosts.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._prefix = f"{PREFIX}{os.getpid()}-"
        self._switch = self._prefix + SWITCH

    def namespace(self, number: int) -> str:
        """The name of a host's namespace."""
        return f"{self._prefix}{number}"

    @staticmethod
    def address(number: int) -> str:
        """A host's address."""
        return f"{NET}.{number}"

    def build(self) -> None:
        """Make all of it."""
        ip("netns", "add", self._switch)
        for number in range(1, self.size + 1):
            ip("netns", "add", self.namespace(number))
        commands = [
            *(f"link add name {bridge} type bridge" for bridge in (LEFT, RIGHT)),
            "link add name trunk type veth peer name trunk2",
            f"link set trunk master {LEFT} up",
            f"link set trunk2 master {RIGHT} up",
            *(f"link set {bridge} up" for bridge in (LEFT, RIGHT)),
        ]
        for number in range(1, self.size + 1):
            bridge = LEFT if number <= self.size // 2 else RIGHT
            namespace = self.namespace(number)
            commands += [
                f"link add name port{number} type veth peer name eth0 netns {namespace}",
                f"link set port{number} master {bridge} up",
            ]
        ip("-n", self._switch, lines=commands)
        for number in range(1, self.size + 1):
            ip(
                "-n",
                self.namespace(number),
                lines=[
                    "link set lo up",
                    f"address add {self.address(number)}/24 dev eth0",
                    "link set eth0 up",
                ],
            )

    def plug(self, number: int, *, is_in: bool) -> None:
        """Pull a host's cable out of the switch, or put it back."""
        ip("-n", self._switch, "link", "set", f"port{number}", "up" if is_in else "down")

    def join(self, *, is_one: bool) -> None:
        """Cut the network into its two halves, or make it one again."""
        ip("-n", self._switch, "link", "set", "trunk", "up" if is_one else "down")

    def remove(self) -> None:
        """End what still runs in the hosts, and take everything down."""
        _remove(self._prefix)


def _remove(prefix: str) -> None:
    for line in ip("netns", "list").splitlines():
        name = line.split()[0]
        if not name.startswith(prefix):
            continue
        for pid in ip("netns", "pids", name).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        ip("netns", "del", name)


def remove_leftovers() -> None:
    """Take down what a run left that was killed itself."""
    for line in ip("netns", "list").splitlines():
        found = re.match(rf"({PREFIX}([0-9]+)-)", line)
        if found and not Path(f"/proc/{found[2]}").exists():
            _remove(found[1])


@contextmanager
def wires(size: int) -> Iterator[Wires]:
    """Hosts and cables, gone at the end whatever happens."""
    remove_leftovers()
    made = Wires(size)
    try:
        made.build()
        yield made
    finally:
        made.remove()


def enter(namespace: str) -> None:
    """From now on this thread makes its sockets in there."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if libc.setns(fd, CLONE_NEWNET):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), namespace)
    finally:
        os.close(fd)
