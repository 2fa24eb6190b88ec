"""A fleet: an edge on each host of a network, its mesh, and what ronctl says of it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

from overlay_edge.client import connect
from overlay_edge.errors import EdgeError
from overlay_edge.gossip_client import publish
from tests.netns.network import PORT, Network
from tests.support.meshed import identity_in
from tests.support.workstation import FLAGS

SEEDS = (1, 2)  # addresses that every node is told
CONFIG = """
log_level = "warning"
[oap]
addr = "{addr}"
[admin]
addr = "127.0.0.1:9600"
[tls]
cert = "{cert}"
key = "{key}"
[readiness]
canary_interval = "0s"
[gossip]
enabled = true
peers = [{seeds}]
advertise = "{addr}"
antientropy = "2s"
"""
SIZES = (20, 2000, 40_000)
Key = tuple[str, int]  # publisher, epoch


@dataclass
class Node:
    """One host's edge.

    Attributes:
        admin: Its admin plane, from out here.
        oap: Its listener, from out here.
    """

    host: int
    argv: list[str]
    admin: str
    oap: str
    process: "subprocess.Popen[bytes] | None" = None
    log: list[bytes] = field(default_factory=list)

    def start(self) -> None:
        """Start it; nobody waits."""
        self.process = subprocess.Popen(
            self.argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert self.process.stderr is not None
        Thread(target=self._read, args=(self.process.stderr,), daemon=True).start()

    def _read(self, pipe: Any) -> None:
        with pipe:
            for line in pipe:
                self.log.append(line)
                del self.log[:-200]

    def kill(self) -> None:
        """As a power cut would, as far as others see."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def rss_bytes(self) -> int:
        """Memory it holds."""
        assert self.process is not None
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


class Fleet:
    """All of them.

    Attributes:
        published: The highest number that a publisher was told, by what numbers it.
    """

    def __init__(self, net: Network, folder: Path) -> None:
        self.net = net
        self.published: dict[Key, int] = {}
        seeds = ", ".join(f'"{net.addr(host)}"' for host in SEEDS)
        self.nodes: dict[int, Node] = {}
        for host in range(1, net.size + 1):
            own = folder / str(host)
            own.mkdir()
            tls = identity_in(own)
            text = CONFIG.format(addr=net.addr(host), cert=tls.cert, key=tls.key, seeds=seeds)
            (own / "edge.toml").write_text(text)
            edge = [
                sys.executable,
                "-m",
                "overlay_edge",
                *FLAGS,
                "--config",
                str(own / "edge.toml"),
            ]
            self.nodes[host] = Node(
                host,
                ["ip", "netns", "exec", net.space(host), *edge],
                net.doorway(host, ("127.0.0.1", 9600)),
                net.doorway(host, (net.addr(host).partition(":")[0], PORT)),
            )

    def start(self, hosts: Iterable[int] = ()) -> None:
        """Start some, or all."""
        for host in hosts or self.nodes:
            self.nodes[host].start()

    def kill(self, hosts: Iterable[int] = ()) -> None:
        """Kill some, or all."""
        for host in hosts or self.nodes:
            self.nodes[host].kill()

    @property
    def live(self) -> list[Node]:
        """Those that run."""
        return [node for node in self.nodes.values() if node.process is not None]

    # -- use ------------------------------------------------------------------------------

    def publish(self, hosts: Iterable[int], count: int, topic: str = "t") -> None:
        """Publish so many messages of several sizes through each of these."""

        async def all_of_them() -> None:
            await asyncio.gather(*(self._publish(host, count, topic) for host in hosts))

        asyncio.run(all_of_them())

    async def _publish(self, host: int, count: int, topic: str) -> None:
        import io

        async with connect(self.nodes[host].oap, timeout_s=15) as client:
            for number in range(count):
                size = SIZES[number % len(SIZES)]
                said = await publish(client, topic, io.BytesIO(os.urandom(size)), size)
                self.published[said["publisher"], said["epoch"]] = said["seq"]

    # -- looking --------------------------------------------------------------------------

    def peers(self, host: int) -> dict[str, Any]:
        """`ronctl peers` of a node."""
        return ronctl("--admin", self.nodes[host].admin, "peers")

    def is_whole(self) -> bool:
        """Every live node can reach every other one over the links of the mesh."""
        try:
            pages = {host: self.peers(host) for host in (node.host for node in self.live)}
        except EdgeError:
            return False
        ids = {page["id"]: host for host, page in pages.items()}
        graph = {
            host: {ids[row["id"]] for row in page["peers"] if row["id"] in ids}
            for host, page in pages.items()
        }
        seen, todo = set(), [next(iter(graph))]
        while todo:
            host = todo.pop()
            if host not in seen:
                seen.add(host)
                todo += graph[host]
        return seen == graph.keys()

    def is_accounted_for(self) -> bool:
        """`ronctl gaps` of all live nodes: everything published is delivered or told as a gap."""
        words = [word for node in self.live for word in ("--admin", node.admin)]
        try:
            told = ronctl("gaps", *words)
        except EdgeError:
            return False
        known = {(one["publisher"], one["epoch"]): one["published"] for one in told["streams"]}
        return bool(told["holds"]) and all(
            known.get(key, 0) >= top for key, top in self.published.items()
        )

    def totals(self) -> dict[str, int]:
        """Messages delivered and gapped, over all live nodes."""
        words = [word for node in self.live for word in ("--admin", node.admin)]
        rows = [row for one in ronctl("gaps", *words)["streams"] for row in one["nodes"].values()]
        return {name: sum(row[name] for row in rows) for name in ("delivered", "gapped")}

    def log(self) -> str:
        """The last lines of all."""
        return "\n".join(
            f"{node.host}: {line.decode().strip()}"
            for node in self.nodes.values()
            for line in node.log[-5:]
        )


def ronctl(*words: str) -> dict[str, Any]:
    """What ronctl prints; exit code 1 with an answer is an answer.

    Raises:
        EdgeError: It says nothing, but why.
    """
    code = "from overlay_edge.ctl.main import entry; entry()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--json", *words], capture_output=True, text=True, check=False
    )
    if not done.stdout:
        raise EdgeError(done.stderr.strip())
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def within(seconds: float, holds: Callable[[], bool]) -> float:
    """Wait for a condition; how long it took, in seconds.

    Raises:
        TimeoutError: It does not hold.
    """
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"not within {seconds:.0f} s")
        time.sleep(0.5)
    return time.monotonic() - began
