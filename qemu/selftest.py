"""Boots an image and proves from outside that it serves, and that it leaves the medium alone."""

import hashlib
import json
import os
from pathlib import Path

from qemu import ronctl
from qemu.errors import QemuError
from qemu.guest import Guest
from qemu.report import Report

OBJECT_BYTES = 4 << 20
WRITE_COUNTERS = ("wr_operations", "wr_bytes", "unmap_operations", "wr_highest_offset")


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def run(guest: Guest, image: Path, scratch: Path, report: Report) -> None:
    """Carry out all checks on a guest that is not started yet.

    Args:
        guest: The guest; it is dead afterwards.
        image: The file it boots from.
        scratch: Folder for the files that travel.
        report: Takes the results.
    """
    before = sha256(image), image.stat().st_mtime_ns
    with guest:
        try:
            _ready(guest, report)
            _transfer(guest, scratch, report)
            if guest.has_counters:
                _untouched_while_running(guest, report)
        except QemuError as exc:
            report.check("the guest does its work", False, f"{exc} {exc.hint}")
        guest.cut_power()
        if not guest.has_counters:
            report.check("the card is the same after a power cut", guest.is_medium_untouched())
    after = sha256(image), image.stat().st_mtime_ns
    report.check("the image file is the same after a power cut", before == after, after[0][:16])


def _ready(guest: Guest, report: Report) -> None:
    answer = guest.wait_ready()
    seconds = guest.uptime_s()
    report.figures["boot_s"] = round(seconds, 2)
    truth = answer.json()
    is_clean = truth["ready"] is True and truth["degraded"] is False and truth["missing"] == []
    report.check("/readyz answers 200 with nothing missing", is_clean, f"{seconds:.1f} s")
    checks = guest.get("/readyz?verbose", timeout_s=5.0).json().get("checks", [])
    failed = [json.dumps(check) for check in checks if not check.get("ok")]
    report.check("every single check is fine", bool(checks) and not failed, "; ".join(failed))
    _amnesia(guest, report)
    guest.wait_console("overlay-edge on overlay-", limit_s=guest.uptime_s() + 20)
    report.check("the console shows the status screen", True)


def _amnesia(guest: Guest, report: Report) -> None:
    """Every rule of the RAM-only promise, as the board itself sees it: none may be broken."""
    page = guest.get("/amnesia", timeout_s=10.0).json()
    states = {rule["rule"]: rule["state"] for rule in page["rules"]}
    bad = [f"{name} {state}" for name, state in states.items() if state in ("broken", "unknown")]
    detail = ", ".join(bad) or f"{len(states)} rules"
    report.check("every rule of the RAM-only promise is kept", page["kept"] and not bad, detail)


def _transfer(guest: Guest, scratch: Path, report: Report) -> None:
    sent, fetched = scratch / "sent", scratch / "fetched"
    sent.write_bytes(os.urandom(OBJECT_BYTES))
    put = ronctl.put(guest, sent)
    report.figures["put_s"] = round(put.seconds, 2)
    report.check("a file of 4 MiB is stored", True, f"{put.seconds:.1f} s, {put.address[:19]}…")
    got = ronctl.get(guest, put.address, fetched)
    report.figures["get_s"] = round(got.seconds, 2)
    is_same = sent.read_bytes() == fetched.read_bytes()
    report.check("the same bytes come back", is_same, f"{got.seconds:.1f} s")
    answer = guest.get("/readyz", timeout_s=5.0)
    detail = str(answer.status) if answer.status == 200 else answer.body
    report.check("/readyz is still 200", answer.status == 200, detail)


def _untouched_while_running(guest: Guest, report: Report) -> None:
    with guest.qmp() as qmp:
        counters = qmp.disk_counters()
    written = {name: counters[name] for name in WRITE_COUNTERS if counters[name]}
    report.check("nothing was written to the medium", not written, str(written or "0 writes"))
    reads = counters["rd_operations"]
    report.check("the medium was really used to boot", reads > 0, f"{reads} reads")
