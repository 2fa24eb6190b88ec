"""What it costs to overwrite freed memory, and what is left of objects that were purged.

A node for each way to allocate, all alive at once and asked in turn, so that a machine that
grows slower does so for all. The figure is requests per second of the *server's* CPU, as the
kernel counts it; the client is in this process. Ratios are to Python's own allocator in the
same round, and their median is printed.

For the residue a new node of each kind takes objects that carry a random mark every 512 bytes,
gives them back, and is told to purge and to collect its garbage. Then the marks in its memory
are counted from outside, which needs root.
"""

import argparse
import asyncio
import http.client
import io
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overlay_edge.client import Client, connect

MALLOC = {"PYTHONMALLOC": "malloc"}
PERTURB = "glibc.malloc.perturb=165"
NO_CACHES = "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0"
WAYS: dict[str, dict[str, str]] = {
    "default": {},
    "malloc": MALLOC,
    "+ perturb": MALLOC | {"GLIBC_TUNABLES": PERTURB},
    "+ no caches": MALLOC | {"GLIBC_TUNABLES": f"{PERTURB}:{NO_CACHES}"},
    "pymalloc_debug": {"PYTHONMALLOC": "pymalloc_debug"},
    "debug, wiped C": {
        "PYTHONMALLOC": "pymalloc_debug",
        "GLIBC_TUNABLES": f"{PERTURB}:{NO_CACHES}",
    },
}
BULK = 64 << 10
ROUNDS = 12
SLICES = 10
# The collector is called from outside, which a node has no page for.
CODE = """
import gc, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: gc.collect())
from overlay_edge.cli import entry
entry()
"""
SETTINGS = """
drain_deadline = "0s"
log_level = "info"
oap.addr = "127.0.0.1:0"
admin.addr = "127.0.0.1:0"
profile = "generic"
peer.max_rps = 100000
quota.requests = 1000000
quota.traffic = "64GiB"
readiness.canary_interval = "0s"
"""
SIZES = {"200 B": (200, 2000), "64 KiB": (BULK, 200)}
MARK_EVERY = 512
PIECE = 16 << 20


@dataclass(frozen=True)
class Server:
    """A node of one kind."""

    pid: int
    oap: str
    admin: str
    pin: str

    def cpu_s(self) -> float:
        """CPU time of all its threads, to the nanosecond."""
        total = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def rss_kib(self) -> int:
        """Memory of it that is in RAM."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def purge(self) -> None:
        """Have it wipe every object."""
        connection = http.client.HTTPConnection(self.admin)
        head = {"Content-Type": "application/json"}
        connection.request("POST", "/control/purge", '{"all": true}', head)
        answer = connection.getresponse()
        if answer.status != 200:
            raise SystemExit(f"error: purge was answered {answer.status}: {answer.read()!r}")
        connection.close()


Work = Callable[[Client, int], Awaitable[None]]


async def echo(client: Client, count: int) -> None:
    """Small requests, answered from memory."""
    payload = os.urandom(256)
    for _ in range(count):
        await client.echo(payload)


async def put(client: Client, count: int) -> None:
    """Objects of one chunk each, stored."""
    for _ in range(count):
        await client.put(io.BytesIO(os.urandom(BULK)), BULK)


async def get(client: Client, count: int) -> None:
    """The same, fetched."""
    addr = await client.put(io.BytesIO(os.urandom(BULK)), BULK)
    for _ in range(count):
        await client.get(addr, lambda piece: None)


async def mix(client: Client, count: int) -> None:
    """Six echoes, three gets and a put, over and over."""
    addr = await client.put(io.BytesIO(os.urandom(BULK)), BULK)
    for turn in range(count):
        if turn % 10 == 9:
            addr = await client.put(io.BytesIO(os.urandom(BULK)), BULK)
        elif turn % 10 > 5:
            await client.get(addr, lambda piece: None)
        else:
            await client.echo(addr.encode() * 4)


WORKS: dict[str, tuple[Work, int]] = {
    "echo 256 B": (echo, 800),
    "put 64 KiB": (put, 200),
    "get 64 KiB": (get, 300),
    "mix": (mix, 600),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true")
    args, _ = parser.parse_known_args()
    with ExitStack() as stack:
        nodes = {name: stack.enter_context(node(environ)) for name, environ in WAYS.items()}
        speeds = asyncio.run(measure(nodes, args.rounds))
        memory = {name: server.rss_kib() for name, server in nodes.items()}
    left = {name: residue(environ) for name, environ in WAYS.items()}
    if args.json:
        fields = {"bench": "wiping", "requests_per_cpu_s": speeds, "rss_kib": memory, "left": left}
        print(json.dumps(fields))
        return
    show(speeds, memory, left)


async def measure(nodes: dict[str, Server], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Requests per CPU second of each node for each work, a list with one for each round.

    A round is cut into slices, and each slice goes around all nodes: a neighbour who takes the
    processor's caches for a second slows all of them down.
    """
    found: dict[str, dict[str, list[float]]] = {
        name: {work: [] for work in WORKS} for name in nodes
    }
    names = list(nodes)
    for turn in range(-1, rounds):  # the first makes each load what it loads late
        for title, (work, count) in WORKS.items():
            spent_s = dict.fromkeys(names, 0.0)
            async with AsyncExitStack() as stack:
                clients = {
                    name: await stack.enter_async_context(connect(one.oap, pin=one.pin))
                    for name, one in nodes.items()
                }
                for part in range(SLICES):
                    first = (turn + part) % len(names)
                    for name in names[first:] + names[:first]:
                        began = nodes[name].cpu_s()
                        await work(clients[name], count // SLICES)
                        spent_s[name] += nodes[name].cpu_s() - began
            for name, server in nodes.items():
                if turn >= 0:
                    found[name][title].append(count / spent_s[name])
                await asyncio.to_thread(server.purge)
    return found


def show(
    speeds: dict[str, dict[str, list[float]]],
    memory: dict[str, int],
    left: dict[str, dict[str, int] | None],
) -> None:
    """Print the table: the first line in figures, the others as ratios to it."""
    titles = "".join(f"{title:>12}" for title in WORKS)
    print("requests per second of the server's CPU, median of the rounds")
    print(f"  {'allocator':<16}{titles}{'RSS MiB':>10}  marks left of 200 B, 64 KiB objects")
    for name, works in speeds.items():
        cells = ""
        for title, rates in works.items():
            ratios = [
                rate / base for rate, base in zip(rates, speeds["default"][title], strict=True)
            ]
            middle = statistics.median(rates if name == "default" else ratios)
            cells += f"{middle:>12.0f}" if name == "default" else f"{middle:>12.2f}"
        found = left[name]
        marks = ", ".join(f"{n}" for n in found.values()) if found else "needs root"
        print(f"  {name:<16}{cells}{memory[name] / 1024:>10.1f}  {marks}")


def residue(environ: dict[str, str]) -> dict[str, int] | None:
    """Marks in a node's memory after everything was purged, by size of their objects."""
    if os.geteuid() != 0:
        return None
    with node(environ) as server:
        marks = {title: os.urandom(12) for title in SIZES}
        asyncio.run(fill(server, marks))
        server.purge()
        os.kill(server.pid, signal.SIGUSR1)
        time.sleep(0.5)  # it has no way to say that the collector is done
        return {title: count(server.pid, mark) for title, mark in marks.items()}


async def fill(server: Server, marks: dict[str, bytes]) -> None:
    """Put every object, and fetch it back."""
    async with connect(server.oap, pin=server.pin) as client:
        for title, (size, number) in SIZES.items():
            for index in range(number):
                mark = marks[title] + index.to_bytes(4)
                step = mark + os.urandom(min(size, MARK_EVERY) - len(mark))
                data = (step * (size // len(step) + 1))[:size]
                addr = await client.put(io.BytesIO(data), size)
                await client.get(addr, lambda piece: None)


def count(pid: int, mark: bytes) -> int:
    """How often a mark is in the memory of a process."""
    found = 0
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            at, end = (int(number, 16) for number in span.split("-"))
            while "r" in rights and at < end and not line.endswith(("[vvar]", "[vsyscall]")):
                try:
                    memory.seek(at)
                    data = memory.read(min(PIECE, end - at))
                except OSError:
                    break
                found += len(re.findall(re.escape(mark), data))
                at += len(data) or end
    return found


@contextmanager
def node(environ: dict[str, str]) -> Iterator[Server]:
    """A node of its own kind."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONMALLOC", "GLIBC_TUNABLES")}
    with tempfile.NamedTemporaryFile("w", suffix=".toml", dir="/dev/shm") as settings:
        settings.write(SETTINGS)
        settings.flush()
        process = subprocess.Popen(
            [sys.executable, "-B", "-c", CODE, "--config", settings.name],
            env=clean | environ,
            stdout=subprocess.DEVNULL,  # a node that promises amnesia prints to no file on a disk
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            start = start_line(process)
            yield Server(process.pid, start["oap_addr"], start["admin_addr"], start["fingerprint"])
        finally:
            process.terminate()
            process.communicate()


def start_line(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Wait until it says that it started; its later lines fill the pipe and are dropped."""
    assert process.stderr is not None
    said = []
    for text in process.stderr:
        said.append(text)
        if text.startswith("{"):
            line: dict[str, Any] = json.loads(text)
            if line["event"] == "start":
                return line
    raise SystemExit(f"error: the node did not start: {''.join(said)}")


if __name__ == "__main__":
    main()
