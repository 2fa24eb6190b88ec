"""Shows the appliance at work: boots it, stores a file in it and fetches it back."""

import os
import time
from pathlib import Path

from qemu import ronctl
from qemu.errors import NO_GUEST, QemuError
from qemu.guest import Guest

OBJECT_BYTES = 4 << 20
WATCH_S = 0.5


def blake3_of(path: Path) -> str:
    """BLAKE3 of a file, as an object address spells it."""
    from blake3 import blake3

    return f"b3:{blake3(path.read_bytes()).hexdigest()}"


def store_and_fetch(guest: Guest, scratch: Path) -> None:
    """Send a random file through the guest and compare what comes back."""
    sent, fetched = scratch / "sent", scratch / "fetched"
    sent.write_bytes(os.urandom(OBJECT_BYTES))
    put = ronctl.put(guest, sent)
    got = ronctl.get(guest, put.address, fetched)
    before, after = blake3_of(sent), blake3_of(fetched)
    print(f"stored  {OBJECT_BYTES >> 20} MiB in {put.seconds:.1f} s   {before}")
    print(f"fetched {OBJECT_BYTES >> 20} MiB in {got.seconds:.1f} s   {after}")
    if not before == after == put.address:
        raise QemuError("the fetched file differs from the stored one")
    print("the same bytes, by BLAKE3")


def next_steps(guest: Guest) -> str:
    """What to try with a guest that is up."""
    tool = f".venv/bin/ronctl --addr {guest.oap_address} --admin {guest.admin_url}"
    tool += f" --cap {guest.cap}" if guest.cap else ""
    return "\n".join(
        [
            "try next:",
            f"  curl {guest.admin_url}/status",
            f"  curl -i {guest.admin_url}/readyz",
            f"  {tool} put FILE",
            f"  {tool} echo hello",
        ]
    )


def run(guest: Guest, scratch: Path, *, is_oneshot: bool) -> None:
    """The whole demonstration; without `is_oneshot` the guest stays until Ctrl-C."""
    with guest:
        print("booting through firmware; without hardware help this takes about 20 s …", flush=True)
        guest.wait_ready()
        print(f"/readyz is 200 after {guest.uptime_s():.1f} s", flush=True)
        print(
            f"certificate fingerprint {guest.get('/version', timeout_s=5.0).json()['fingerprint']}"
        )
        store_and_fetch(guest, scratch)
        if is_oneshot:
            print("try next: make run, and the guest stays up for you")
            return
        print(next_steps(guest), flush=True)
        print("the guest stays up until Ctrl-C", flush=True)
        while guest.is_running():
            time.sleep(WATCH_S)
        raise QemuError("the guest ended by itself", code=NO_GUEST)
