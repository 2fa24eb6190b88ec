"""A running board whose memory can be looked at, with a broker it can reach."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from qemu.guest import Guest
from qemu.machine import Extras
from tests.prove import agent
from tests.prove.estate import BROKER, BROKER_PORT, Estate
from tests.prove.scan import Found, Scanner
from tests.support.mosquitto import MISSING, MOSQUITTO

MEMORY_MIB = 512  # the smallest board that is sold
BROKER_CONFIG = """\
listener {port} 127.0.0.1
certfile {cert}
keyfile {key}
password_file {passwords}
allow_anonymous false
user root
"""


@contextlib.contextmanager
def broker(estate: Estate) -> Iterator[int]:
    """A real broker with TLS and passwords; yields its port on loopback."""
    if not MOSQUITTO:
        raise FileNotFoundError(MISSING)
    folder = estate.image.parent
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    passwords, config = folder / "passwords", folder / "mosquitto.conf"
    add = ["mosquitto_passwd", "-b", "-c", str(passwords), estate.user, estate.password]
    subprocess.run(add, check=True, capture_output=True)
    cert, key = estate.broker
    config.write_text(BROKER_CONFIG.format(port=port, cert=cert, key=key, passwords=passwords))
    process = subprocess.Popen([MOSQUITTO, "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


class Board:
    """One start of an estate's image.

    Args:
        estate: Whose.
        kind: Name of the machine description.
        outside: What of the host it may reach.
        flags: More of QEMU's flags.
        memory_mib: Its memory.

    Attributes:
        held_s: How long it was held still so far: its own clocks have not moved meanwhile.
    """

    def __init__(
        self,
        estate: Estate,
        *,
        kind: str = "virt",
        outside: tuple[str, ...] = (),
        flags: tuple[str, ...] = (),
        memory_mib: int = MEMORY_MIB,
    ) -> None:
        folder = estate.image.parent
        self.estate = estate
        self.held_s = 0.0
        self.ram = folder / "ram"
        self._shell = folder / "agent"
        self._memory_mib = memory_mib
        extras = Extras(
            ram=self.ram,
            outside=outside,
            flags=(*agent.flags(self._shell), *flags),
        )
        self.guest = Guest(kind, estate.image, memory_mib=memory_mib, extras=extras)
        self.agent: agent.Agent | None = None

    def __enter__(self) -> "Board":
        self.guest.__enter__()
        try:
            self.guest.wait_answer()
            self.agent = agent.Agent(self._shell)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it; what was in its memory stays in the file."""
        if self.agent is not None:
            self.agent.close()
        self.guest.close()

    def crash(self, order: str) -> None:
        """Have the shell do something that nothing comes back from."""
        assert self.agent is not None
        self.agent.send(order)

    def scan(self, scanner: Scanner) -> Found:
        """Look through all memory; a guest that runs is held still for it."""
        if not self.guest.is_running():
            return scanner.scan(self.ram)
        with self.guest.qmp() as qmp:
            qmp.call("stop")
            began = time.monotonic()
            try:
                return scanner.scan(self.ram)
            finally:
                qmp.call("cont")
                self.held_s += time.monotonic() - began

    def compare_dump(self, scanner: Scanner, target: Path) -> tuple[int, int]:
        """Hits in a dump that QEMU writes to a file, and in our file, at the same moment."""
        with self.guest.qmp() as qmp:
            qmp.call("stop")
            try:
                qmp.call(
                    "pmemsave",
                    val=0x4000_0000,  # where memory begins on this machine
                    size=self._memory_mib << 20,
                    filename=str(target),
                )
                dumped, shared = scanner.scan(target), scanner.scan(self.ram)
            finally:
                qmp.call("cont")
                target.unlink(missing_ok=True)
        return sum(dumped.hits.values()), sum(shared.hits.values())


def reach(port: int) -> tuple[str, ...]:
    """Lead the broker's address in the guest to its port on loopback."""
    return (f"guestfwd=tcp:{BROKER}:{BROKER_PORT}-tcp:127.0.0.1:{port}",)
