"""Nothing is written to the boot medium, nor to any disk beside it, from firmware to power-off."""

import hashlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from overlay_edge.proto.frame import END, RESP, App, encode_json
from tests.prove.board import Board
from tests.prove.estate import Estate, section, settle
from tests.prove.exits import board_of
from tests.prove.plant import order
from tests.prove.talker import Talker

DECOY_BYTES = 16 << 20
SWAP_MARK_AT = 4096 - 10  # where swap, and an image of a hibernated machine, say what they are
COUNTERS = ("wr_operations", "wr_bytes", "unmap_operations", "wr_highest_offset")
RIVAL = b'[auth]\nmode = "none"\n'
THREADS = 8
TOGETHER = 8  # requests of one session on their way at one time
SMALL = 1024
ROOMY = 'profile = "generic"'  # ten thousand requests at once are more than a small board's quota


@dataclass(slots=True)
class Untouched:
    """What was seen of the disks.

    Attributes:
        written: Counters that are not zero, by drive.
        changed: Files that differ.
        reads: Reads of the boot medium.
        requests, failures: Served while the medium was away, and not served.
    """

    written: dict[str, dict[str, int]] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    reads: int = 0
    requests: int = 0
    failures: list[str] = field(default_factory=list)
    drives: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Nothing was written, and something was read: the medium was really in use."""
        return not (self.written or self.changed or self.failures) and self.reads > 0


def make_decoys(folder: Path) -> list[Path]:
    """Disks that other systems would swap on, resume from, replay or mount."""
    paths = {name: folder / f"{name}.img" for name in ("swap", "hibernated", "ext4", "vfat")}
    for path in paths.values():
        with path.open("wb") as file:
            file.truncate(DECOY_BYTES)
    run(["mkswap", paths["swap"]])
    run(["mkswap", paths["hibernated"]])
    with paths["hibernated"].open("r+b") as file:
        file.seek(SWAP_MARK_AT)
        file.write(b"S1SUSPEND\0")
    run(["mkfs.ext4", "-q", paths["ext4"]])
    run(["debugfs", "-w", "-R", "feature needs_recovery", paths["ext4"]])
    run(["mkfs.vfat", "-n", "OVERLAYEDGE", paths["vfat"]])  # our label, and a rival's settings
    rival = folder / "rival"
    rival.write_bytes(RIVAL)
    run(["mcopy", "-i", paths["vfat"], rival, "::overlay-edge.toml"])
    rival.unlink()
    return list(paths.values())


def run(argv: list[str | Path]) -> None:
    """Run a tool; tools for file systems lie where users do not look."""
    tool = shutil.which(str(argv[0])) or shutil.which(str(argv[0]), path="/usr/sbin:/sbin")
    subprocess.run([tool or str(argv[0]), *map(str, argv[1:])], check=True, capture_output=True)


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def with_decoys(built: Path, folder: Path, count: int) -> Untouched:
    """Start with decoys attached, work, power off; then ask QEMU what was written where."""
    began = time.monotonic()
    seen = Untouched()
    estate = settle(built, folder, top=ROOMY)
    decoys = make_decoys(folder)
    flags = ["-no-shutdown"]  # QEMU stays, to be asked
    for decoy in decoys:
        flags += ["-drive", f"if=none,format=raw,readonly=off,id={decoy.stem},file={decoy}"]
        flags += ["-device", f"virtio-blk-pci,drive={decoy.stem}"]
    watched = [estate.image, *decoys]
    before = {path: sha256(path) for path in watched}
    with ExitStack() as stack:
        board = board_of(stack, estate, flags=tuple(flags))
        board.guest.wait_ready()
        seen.requests = serve(board, estate, count, seen.failures)
        _power_off(board, estate)
        with board.guest.qmp() as qmp:
            counters = qmp.all_counters()
    seen.drives = sorted({"medium", *(decoy.stem for decoy in decoys)} & counters.keys())
    for name in seen.drives:
        if found := {c: counters[name][c] for c in COUNTERS if counters[name][c]}:
            seen.written[name] = found
    seen.reads = counters["medium"]["rd_operations"]
    seen.changed = [path.name for path in watched if sha256(path) != before[path]]
    seen.seconds = round(time.monotonic() - began, 1)
    return seen


def _power_off(board: Board, estate: Estate) -> None:
    operator, _ = estate.mint()
    with board.guest.qmp() as qmp:
        order(board.guest, operator, "/control/stop", {"then": "poweroff"})
        qmp.wait_event("SHUTDOWN", limit_s=60)


def pull(built: Path, folder: Path, count: int) -> Untouched:
    """Pull the stick one second after the board is ready, and go on asking."""
    began = time.monotonic()
    seen = Untouched()
    estate = settle(built, folder, top=ROOMY)
    before = sha256(estate.image)
    with ExitStack() as stack:
        board = board_of(stack, estate, kind="virt-usb")
        board.guest.wait_ready()
        time.sleep(1)  # what is promised: one second after ready
        with board.guest.qmp() as qmp:
            counters = qmp.disk_counters()
            qmp.call("device_del", id="disk")
            qmp.wait_event("DEVICE_DELETED")
        seen.reads = counters["rd_operations"]
        if found := {c: counters[c] for c in COUNTERS if counters[c]}:
            seen.written["medium"] = found
        seen.requests = serve(board, estate, count, seen.failures)
    if sha256(estate.image) != before:
        seen.changed.append(estate.image.name)
    seen.drives = ["medium"]
    seen.seconds = round(time.monotonic() - began, 1)
    return seen


def serve(board: Board, estate: Estate, count: int, failures: list[str]) -> int:
    """Ask for that many echoes, objects and heads over several sessions; returns the answers."""
    token, _ = estate.mint()
    done = [0] * THREADS

    def work(number: int) -> None:
        try:
            with Talker(board.guest.ports.oap, cap=section(token)) as talker:
                done[number] = ask_many(talker, count // THREADS, section(token), failures.append)
        except (OSError, ValueError) as error:
            failures.append(f"session {number}: {error}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done)


def ask_many(talker: Talker, count: int, cap: bytes, fail: Callable[[str], None]) -> int:
    """Ask in batches, and count the answers that are right."""
    stored = talker.put(bytes(SMALL), cap=cap)
    address = json.loads(stored.payload)["addr"]
    right = 0
    for start in range(0, count, TOGETHER):
        asked: dict[int, bytes] = {}
        for at in range(start, min(start + TOGETHER, count)):
            payload = at.to_bytes(8, "big") * 8
            kind = at % 4
            if kind == 0:
                asked[talker.ask(App.ECHO, payload)] = payload
            elif kind == 1:
                asked[talker.ask(App.OBJECTS, encode_json({"op": "head", "addr": address}))] = b""
            elif kind == 2:
                asked[talker.ask(App.OBJECTS, encode_json({"op": "get", "addr": address}))] = b""
            else:
                head = encode_json({"op": "put", "size": len(payload)})
                put = talker.ask(App.OBJECTS, head, cap=cap, is_whole=False)
                talker.bulk(App.OBJECTS, put, payload, is_last=True)
                asked[put] = b""
        waiting = set(asked)
        while waiting:
            frame = talker.receive(lambda f: bool(f.flags & RESP))
            if frame.code >= 400:
                fail(f"{frame.code} {frame.payload[:120]!r}")
                waiting.discard(frame.corr_id)
            elif frame.flags & END:
                expected = asked[frame.corr_id]
                if expected and frame.payload != expected:
                    fail(f"request {frame.corr_id}: other bytes came back")
                else:
                    right += 1
                waiting.discard(frame.corr_id)
    return right
