"""Uses the guest as an operator would: through the `ronctl` command, as a separate program."""

import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from qemu.errors import USAGE, QemuError
from qemu.guest import Guest

LIMIT_S = 120.0
PATIENCE_S = 90  # what ronctl may wait for a board that says "later"
ADDRESS = re.compile(r"b3:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Transfer:
    """One finished put or get.

    Args:
        address: The object's address, its BLAKE3.
        seconds: How long the whole command took, start of Python included.
    """

    address: str
    seconds: float


def find() -> str:
    """The `ronctl` of the environment this runs in."""
    beside = Path(sys.executable).with_name("ronctl")
    found = str(beside) if beside.is_file() else shutil.which("ronctl")
    if not found:
        raise QemuError("ronctl: not found", hint="pip install -e .", code=USAGE)
    return found


def offline(*arguments: str) -> str:
    """Run one verb that needs no node; returns its output."""
    argv = [find(), *arguments, "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise QemuError(f"ronctl {arguments[0]}: exit {done.returncode}: {last}")
    return done.stdout


def call(guest: Guest, *arguments: str) -> tuple[str, float]:
    """Run one verb against the guest; returns its output and the seconds it took.

    When a small board says "later", ronctl waits as it is told; the wait counts.
    """
    target = ["--addr", guest.oap_address, "--admin", guest.admin_url]
    target += ["--patience", str(PATIENCE_S)]
    if guest.cap is not None:
        target += ["--cap", str(guest.cap)]
    begin = time.monotonic()
    return offline(*arguments, *target), time.monotonic() - begin


def put(guest: Guest, path: Path) -> Transfer:
    """Store a file in the guest."""
    output, seconds = call(guest, "put", str(path))
    found = ADDRESS.search(output)
    if not found:
        raise QemuError(f"ronctl put: no address in {output[:200]!r}")
    return Transfer(found[0], seconds)


def get(guest: Guest, address: str, into: Path) -> Transfer:
    """Fetch an object into a file."""
    seconds = call(guest, "get", address, "-o", str(into))[1]
    return Transfer(address, seconds)
