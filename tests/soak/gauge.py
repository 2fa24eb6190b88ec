"""Gauge: a running node seen from outside: its memory, its files, what it says of itself."""

import contextlib
import http.client
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile

from overlay_edge.config import DEFAULTS, apply_profile
from overlay_edge.host.board import profile_text
from tests.support.program import Program, program

MIB = 1 << 20
WAIT_S = 10.0


class Gauge:
    """One node's admin plane and its entries in /proc."""

    def __init__(self, node: Program) -> None:
        self._pid = node.process.pid
        self._admin = node.admin

    def rss_bytes(self) -> int:
        """Memory of the process that is in RAM."""
        return self._status("VmRSS")

    def peak_bytes(self) -> int:
        """The most it ever was."""
        return self._status("VmHWM")

    def _status(self, key: str) -> int:
        status = Path(f"/proc/{self._pid}/status").read_text()
        return 1024 * int(status.partition(f"{key}:")[2].split()[0])

    def fds(self) -> int:
        """Open descriptors, as it says itself: its folder in /proc is closed to its own user."""
        return int(self.metrics()["process_open_fds"])

    def cpu_s(self) -> float:
        """CPU time used."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def get(self, path: str) -> tuple[int, str]:
        """One page: status and text."""
        connection = http.client.HTTPConnection(self._admin, timeout=WAIT_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def ready(self) -> int:
        """The status of /readyz."""
        return self.get("/readyz")[0]

    def metrics(self) -> dict[str, float]:
        """Every series by name and labels, as printed."""
        status, text = self.get("/metrics")
        if status != 200:
            raise RuntimeError(f"/metrics: {status} {text}")
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    def held_bytes(self) -> float:
        """What the budget is for: the process, and objects, which are memory of their own."""
        return self.rss_bytes() + self.metrics()["overlay_store_bytes"]


def rejected(metrics: Mapping[str, float]) -> dict[str, float]:
    """Refusals by reason."""
    start = 'rejected_total{reason="'
    return {
        name.removeprefix(start).removesuffix('"}'): value
        for name, value in metrics.items()
        if name.startswith(start)
    }


def budget_bytes(profile: str) -> int:
    """The budget a profile leaves of the defaults."""
    return apply_profile(DEFAULTS, profile_text(profile)).memory_budget_bytes


@contextlib.contextmanager
def node(config: str = "", *, profile: str = "generic") -> Iterator[tuple[Program, Gauge]]:
    """A real node, with a core of its own if there are two, ended whatever happens."""
    with NamedTemporaryFile("w", suffix=".toml", dir="/dev/shm") as file:
        file.write(config)
        file.flush()
        argv = ["--profile", profile, "--config", file.name]
        with program(argv) as running, _apart(running.process.pid):
            yield running, Gauge(running)


@contextlib.contextmanager
def _apart(pid: int) -> Iterator[None]:
    """Keep what makes the load off the core that carries it: it would slow it by itself."""
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        yield
        return
    own = min(cores)
    os.sched_setaffinity(pid, {own})
    os.sched_setaffinity(0, cores - {own})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def end_on_signals() -> None:
    """Let a signal end us like an exception, so that children are ended, too."""

    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, stop)
