"""Board: one node as a process of its own in a host of its own, driven from outside."""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.netns.tunnel import tunnel
from tests.netns.waiting import until
from tests.netns.wires import Wires
from tests.support.meshed import identity_in
from tests.support.program import COMMAND
from tests.support.workstation import FLAGS

RONCTL = str(Path(sys.executable).parent / "ronctl")
OAP_PORT, ADMIN_PORT = 9444, 9600
ANSWER_S = 10.0
LOG_LINES = 15
# Silence is noticed sooner than by default; what is missing is a gap after nine seconds.
SETTINGS = """
log_level = "info"

[oap]
addr = "0.0.0.0:9444"

[tls]
cert = "{cert}"
key = "{key}"

[timeouts]
idle = "6s"

[gossip]
enabled = true
advertise = "{address}:9444"
peers = {peers}
antientropy = "3s"
"""


class Board:
    """One node.

    Args:
        wires: Where its host is.
        number: Of the host.
        folder: For its files, in RAM.
        seeds: Hosts it joins by.
    """

    def __init__(self, wires: Wires, number: int, folder: Path, seeds: tuple[int, ...]) -> None:
        self.number = number
        self.namespace = wires.namespace(number)
        self.oap = f"{wires.address(number)}:{OAP_PORT}"
        self.admin = ""
        self.process: subprocess.Popen[bytes] | None = None
        self._folder = folder / f"board{number}"
        self._folder.mkdir()
        identity = identity_in(self._folder)
        self._log = self._folder / "log"
        self._settings = self._folder / "edge.toml"
        self._settings.write_text(
            SETTINGS.format(
                cert=identity.cert,
                key=identity.key,
                address=wires.address(number),
                peers=json.dumps([f"{wires.address(one)}:{OAP_PORT}" for one in seeds]),
            )
        )
        self._stack = ExitStack()
        self._files = 0

    def __repr__(self) -> str:
        return f"board {self.number}"

    @property
    def is_alive(self) -> bool:
        """Its process runs."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start the process; :meth:`is_up` says when it serves."""
        if not self.admin:
            self.admin = self._stack.enter_context(tunnel(self.namespace, ADMIN_PORT))
        with self._log.open("ab") as log:
            self.process = self._inside(
                [*COMMAND, "--config", str(self._settings), "--profile", "generic", *FLAGS],
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def kill(self) -> None:
        """As a crash or a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End it and its tunnel."""
        if self.process is not None:
            self.kill()
        self._stack.close()

    # -- from outside -------------------------------------------------------------------

    def page(self, path: str) -> tuple[int, str]:
        """One page of its admin plane; status 0 while there is none."""
        connection = http.client.HTTPConnection(self.admin, timeout=ANSWER_S)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    def read(self, path: str) -> dict[str, Any]:
        """A page that is JSON; empty while there is none."""
        status, text = self.page(path)
        found: dict[str, Any] = json.loads(text) if status == 200 else {}
        return found

    def is_up(self) -> bool:
        """It serves."""
        return self.page("/healthz")[0] == 200

    def metric(self, name: str) -> float:
        """One series of /metrics."""
        for line in self.page("/metrics")[1].splitlines():
            if line.rpartition(" ")[0] == name:
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"{self}: /metrics has no {name}")

    def ronctl(self, *argv: str) -> tuple[int, dict[str, Any]]:
        """Run `ronctl --json` inside; its exit code and what it said."""
        done = self._inside(
            [RONCTL, *argv, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, errors = done.communicate(timeout=60)
        return done.returncode, json.loads(out or errors or b"{}")

    def script(self, module: str, *argv: str) -> "Script":
        """Run one of our modules inside, and read its lines."""
        return self._read([sys.executable, "-m", module, *argv])

    def hear(self, topic: str) -> "Script":
        """Run `ronctl subscribe` inside, and read its lines."""
        return self._read([RONCTL, "subscribe", topic, "--json"])

    def log(self) -> str:
        """The end of its log."""
        return "\n".join(self._log.read_text().splitlines()[-LOG_LINES:])

    def _read(self, argv: list[str]) -> "Script":
        self._files += 1
        path = self._folder / f"out{self._files}"
        with path.open("wb") as out:
            process = self._inside(argv, stdout=out, stderr=out)
        return Script(process, path, self)

    def _inside(self, argv: list[str], **streams: Any) -> "subprocess.Popen[bytes]":
        # Whatever ends us, nothing of this lives on.
        chain = ("ip", "netns", "exec", self.namespace, "setpriv", "--pdeathsig", "KILL")
        return subprocess.Popen([*chain, *argv], stdin=subprocess.DEVNULL, **streams)


class Script:
    """A process in a host, and the lines of JSON it has printed.

    Attributes:
        board: Whose host it is in.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", path: Path, board: Board) -> None:
        self.process = process
        self.board = board
        self._path = path

    def lines(self) -> list[dict[str, Any]]:
        """What it has printed so far."""
        whole = self._path.read_bytes().rpartition(b"\n")[0]
        try:
            return [json.loads(line) for line in whole.splitlines()]
        except ValueError:
            raise AssertionError(
                f"{self.board}: {whole.decode(errors='replace')[-2000:]}"
            ) from None

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


@contextmanager
def boards(wires: Wires, size: int, folder: Path, seeds: tuple[int, ...]) -> Iterator[list[Board]]:
    """Nodes 1 to ``size``, started and serving, ended at the end."""
    made: list[Board] = []
    try:
        for number in range(1, size + 1):
            made.append(Board(wires, number, folder, seeds))
            made[-1].start()
        until(lambda: all(one.is_up() for one in made), f"{size} nodes serve", boards=made)
        yield made
    finally:
        for one in made:
            one.close()
