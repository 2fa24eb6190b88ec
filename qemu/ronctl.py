"""Uses the guest as an operator would: through the `ronctl` command, as a separate program."""

import json
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
MIN_WAIT_S = 0.05  # a refusal that says "at once" must not make us spin
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


def call(guest: Guest, *arguments: str) -> tuple[str, float]:
    """Run one verb against the guest; returns its output and the seconds it took.

    A small board answers "later" to a client that goes on at full speed, and says when. An operator
    would wait and try again, and so do we; the wait counts.
    """
    argv = [find(), *arguments, "--json", "--addr", guest.oap_address, "--admin", guest.admin_url]
    begin = time.monotonic()
    while True:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        seconds = time.monotonic() - begin
        if done.returncode == 0:
            return done.stdout, seconds
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        wait_s = retry_after_s(last)
        if wait_s is None or seconds + wait_s > LIMIT_S:
            raise QemuError(f"ronctl {arguments[0]}: exit {done.returncode}: {last}")
        time.sleep(wait_s)


def retry_after_s(message: str) -> float | None:
    """When a refusal says to come back, in seconds; None for every other failure."""
    try:
        fields = json.loads(message)
        return max(MIN_WAIT_S, float(fields["retry_after_ms"]) / 1000)
    except (ValueError, KeyError, TypeError):
        return None


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
