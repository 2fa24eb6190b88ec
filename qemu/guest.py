"""A running guest: start, wait until it is ready, ask it, stop it or cut its power."""

import http.client
import json
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from qemu import machine, medium
from qemu.errors import NO_GUEST, USAGE, QemuError
from qemu.machine import Extras, Machine, Ports
from qemu.qmp import Qmp

# User networking accepts before the guest listens, so each try hangs until its own timeout.
TRY_S = 1.0
PAUSE_S = 0.2
BOOT_LIMIT_S = 180.0  # a loaded machine without hardware help needs a fraction of it
END_LIMIT_S = 60.0  # its own drain, and what init gives the rest
NO_EXTRAS = Extras()
TOO_LITTLE_MEMORY = "Initramfs unpacking failed"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the admin plane said."""

    status: int
    body: str

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def free_port() -> int:
    """A loopback port nobody uses right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Guest:
    """One boot of an image file; a context manager that never leaves QEMU behind.

    Args:
        board: Name of the machine description.
        image: The disk image, used as it is.
        memory_mib: Memory of the guest.
        oap_port: Loopback port for OAP; 0 takes a free one.
        admin_port: Loopback port for the admin plane; 0 takes a free one.
        extras: What a test adds to the machine.

    Attributes:
        cap: Capability to use the guest with; None = it has nobody's key.
    """

    cap: Path | None = None

    def __init__(
        self,
        board: str,
        image: Path,
        *,
        memory_mib: int = 512,
        oap_port: int = 0,
        admin_port: int = 0,
        extras: Extras = NO_EXTRAS,
    ) -> None:
        if not image.is_file():
            hint = "build it: python -m image build"
            raise QemuError(f"{image}: no such file", hint=hint, code=USAGE)
        self.ports = Ports(oap_port or free_port(), admin_port or free_port())
        self._machine: Machine = machine.load(board)
        self._image = image.resolve()
        self._memory_mib = memory_mib
        self._extras = extras
        self._folder = Path(tempfile.mkdtemp(prefix="edge-guest-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._begin = 0.0

    def __enter__(self) -> "Guest":
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    @property
    def oap_address(self) -> str:
        """Where the guest's OAP port appears."""
        return f"127.0.0.1:{self.ports.oap}"

    @property
    def admin_url(self) -> str:
        """Where the guest's admin plane appears."""
        return f"http://127.0.0.1:{self.ports.admin}"

    @property
    def has_counters(self) -> bool:
        """Whether QEMU counts what the guest reads from and writes to its medium."""
        return self._machine.is_counted

    def is_medium_untouched(self) -> bool:
        """Whether a copy made for an SD slot still equals the image; true where there is none."""
        card = self._folder / medium.CARD
        return not card.is_file() or medium.is_untouched(card, self._image)

    def start(self) -> None:
        """Start QEMU; the guest boots from here on."""
        argv = machine.command(
            self._machine,
            self._image,
            self._folder,
            self.ports,
            memory_mib=self._memory_mib,
            extras=self._extras,
        )
        errors = (self._folder / "qemu.log").open("wb")
        with errors:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for us; we end QEMU ourselves
            )
        self._begin = time.monotonic()

    def uptime_s(self) -> float:
        """Seconds since QEMU was started."""
        return time.monotonic() - self._begin

    def console(self) -> str:
        """Everything the guest has written to its serial console."""
        path = self._folder / "serial.log"
        return path.read_text(errors="replace") if path.is_file() else ""

    def get(self, path: str, *, timeout_s: float = TRY_S) -> Answer:
        """Ask the admin plane; raises OSError or HTTPException while it is not there."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports.admin, timeout=timeout_s)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return Answer(response.status, response.read().decode(errors="replace"))
        finally:
            connection.close()

    def wait_answer(self, *, limit_s: float = BOOT_LIMIT_S, status: int | None = None) -> Answer:
        """Wait until `/readyz` answers at all, or with a status; fails early if QEMU ends."""
        last = "no answer yet"
        while self.uptime_s() < limit_s:
            self._check_alive()
            try:
                answer = self.get("/readyz")
            except (OSError, http.client.HTTPException) as exc:
                last = f"{type(exc).__name__}: {exc}"
            else:
                if status is None or answer.status == status:
                    return answer
                last = f"{answer.status} {answer.body}"
            time.sleep(PAUSE_S)
        raise self._failure(f"/readyz not {status or 'there'} after {limit_s:.0f} s ({last})")

    def wait_ready(self, *, limit_s: float = BOOT_LIMIT_S) -> Answer:
        """Wait for `/readyz` 200."""
        return self.wait_answer(limit_s=limit_s, status=200)

    def wait_console(self, text: str, *, limit_s: float = BOOT_LIMIT_S) -> None:
        """Wait until the guest has written a text to its console."""
        while text not in self.console():
            self._check_alive()
            if self.uptime_s() > limit_s:
                raise self._failure(f"console without {text!r} after {limit_s:.0f} s")
            time.sleep(PAUSE_S)

    def qmp(self) -> Qmp:
        """A connection to QEMU's control socket."""
        return Qmp(self._folder / "qmp")

    def wait_end(self, *, limit_s: float = END_LIMIT_S) -> None:
        """Wait until QEMU has ended by itself, as it does when the guest powers off."""
        if self._process is None:
            return
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise self._failure(f"the guest is still there after {limit_s:.0f} s") from None

    def is_running(self) -> bool:
        """Whether QEMU is there."""
        return self._process is not None and self._process.poll() is None

    def cut_power(self) -> None:
        """End QEMU without warning, as a pulled plug would."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """End QEMU and remove its files."""
        self.cut_power()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _check_alive(self) -> None:
        if not self.is_running():
            log = (self._folder / "qemu.log").read_text(errors="replace").strip()
            raise self._failure(f"QEMU ended: {log.splitlines()[-1] if log else 'no message'}")
        if TOO_LITTLE_MEMORY in self.console():
            raise self._failure(f"{self._memory_mib} MiB are too little for this image")

    def _failure(self, message: str) -> QemuError:
        lines = [line for line in self.console().splitlines() if line.strip()]
        hint = "end of the console:\n  " + "\n  ".join(lines[-12:]) if lines else "silent console"
        return QemuError(message, hint=hint, code=NO_GUEST)
