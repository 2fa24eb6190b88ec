"""Writes an image to a card or stick, after making sure that it is the right one.

Refused: anything but a whole block device; one that is mounted, in use as swap or under something
else; one that is too small; one that is not removable, unless forced. The person then types the
device's name, and what was written is read back and compared.
"""

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from image.errors import TARGET, ImageError
from image.progress import say

CHUNK = 4 << 20  # large enough for cards to be quick, small enough for a lively progress line
SECTOR = 512  # the unit of /sys/class/block/*/size, whatever the device's own


@dataclass(frozen=True, slots=True)
class Disk:
    """What the system knows about a block device.

    Args:
        name: For example sdb.
        model: As the maker calls it.
        size_bytes: Capacity.
        is_whole: A disk, not a partition.
        is_removable: Card readers and sticks say so.
        uses: What holds it: mount points, swap, device mapper.
    """

    name: str
    model: str
    size_bytes: int
    is_whole: bool
    is_removable: bool
    uses: tuple[str, ...]


def inspect(device: Path, sys: Path = Path("/sys"), proc: Path = Path("/proc")) -> Disk:
    """Look a device up in /sys and /proc."""
    try:
        mode = device.stat().st_mode
    except OSError as exc:
        raise ImageError(f"{device}: {exc.strerror}", code=TARGET) from exc
    if not stat.S_ISBLK(mode):
        raise ImageError(f"{device}: not a block device", code=TARGET)
    return describe(device.resolve().name, sys, proc)


def describe(name: str, sys: Path, proc: Path) -> Disk:
    """Gather what /sys and /proc tell of a block device by its kernel name."""
    base = sys / "class/block" / name
    parts = sorted(path.parent.name for path in base.glob("*/partition"))

    def text(path: str) -> str:
        try:
            return (base / path).read_text().strip()
        except OSError:
            return ""

    uses = []
    for part in [name, *parts]:
        uses += _mounts(part, base if part == name else base / part, proc)
        holders = base / ("" if part == name else part) / "holders"
        if holders.is_dir():
            uses += [f"{part} is part of {held.name}" for held in sorted(holders.iterdir())]
    return Disk(
        name=name,
        model=" ".join(
            [text("device/vendor"), text("device/model") or text("device/name")]
        ).strip(),
        size_bytes=int(text("size") or 0) * SECTOR,
        is_whole=not (base / "partition").exists(),
        # SD slots wired to the board call themselves fixed, but their cards are not.
        is_removable=text("removable") == "1" or name.startswith("mmcblk"),
        uses=tuple(uses),
    )


def _mounts(name: str, folder: Path, proc: Path) -> list[str]:
    number = (folder / "dev").read_text().strip() if (folder / "dev").is_file() else "?"
    uses = []
    for line in (proc / "self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[2] == number or f"/dev/{name}" in fields[fields.index("-") :]:
            uses.append(f"{name} is mounted on {fields[4]}")
    for line in (proc / "swaps").read_text().splitlines()[1:]:
        if line.split()[0] == f"/dev/{name}":
            uses.append(f"{name} is swap")
    return uses


def refuse(disk: Disk, image_bytes: int, *, is_forced: bool) -> None:
    """Raise if the disk must not, or cannot, take the image."""
    if not disk.is_whole:
        raise ImageError(f"{disk.name}: a partition, expected the whole disk", code=TARGET)
    if disk.uses:
        hint = "unmount it first; make sure it is the disk you mean"
        raise ImageError(f"{disk.name}: {'; '.join(disk.uses)}", hint=hint, code=TARGET)
    if disk.size_bytes < image_bytes:
        message = f"{disk.name}: {disk.size_bytes} bytes, the image needs {image_bytes}"
        raise ImageError(message, code=TARGET)
    if not disk.is_removable and not is_forced:
        hint = "if you are sure: --force"
        raise ImageError(f"{disk.name}: not a removable disk", hint=hint, code=TARGET)


def copy(source: BinaryIO, target: BinaryIO, size: int, progress: Callable[[int], None]) -> str:
    """Write a whole image; returns the SHA-256 of what was read from the source."""
    total = hashlib.sha256()
    done = 0
    while done < size:
        chunk = source.read(min(CHUNK, size - done))
        if not chunk:
            raise ImageError(f"the image ended at {done} of {size} bytes")
        view = memoryview(chunk)
        while view:
            view = view[target.write(view) :]
        total.update(chunk)
        done += len(chunk)
        progress(done)
    target.flush()
    os.fsync(target.fileno())
    return total.hexdigest()


def read_back(device: BinaryIO, size: int, progress: Callable[[int], None]) -> str:
    """SHA-256 of the first `size` bytes, from the device itself and not from the page cache."""
    os.posix_fadvise(device.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    device.seek(0)
    total = hashlib.sha256()
    done = 0
    while done < size:
        chunk = device.read(min(CHUNK, size - done))
        if not chunk:
            raise ImageError(f"the device ended at {done} of {size} bytes", code=TARGET)
        total.update(chunk)
        done += len(chunk)
        progress(done)
    return total.hexdigest()


def show(verb: str, size: int) -> Callable[[int], None]:
    """A progress line in steps of ten per cent."""
    last = -1

    def progress(done: int) -> None:
        nonlocal last
        tenth = done * 10 // size
        if tenth != last:
            last = tenth
            say(f"{verb} {tenth * 10:3d} %")

    return progress


def flash(
    device: Path,
    image: Path,
    *,
    is_forced: bool = False,
    look: Callable[[Path], Disk] = inspect,
    ask: Callable[[str], str] = input,
) -> None:
    """Check, ask, write, verify.

    Args:
        device: The whole disk.
        image: What to write.
        is_forced: Accept a disk that is not removable.
        look: Finds out about the device.
        ask: Shows a question and returns the answer.
    """
    if not image.is_file():
        hint = "build it: python -m image build"
        raise ImageError(f"{image}: no such file", hint=hint, code=TARGET)
    size = image.stat().st_size
    disk = look(device)
    refuse(disk, size, is_forced=is_forced)
    say(f"target: {device}  {disk.model or 'unknown model'}  {disk.size_bytes / 1e9:.1f} GB")
    say("everything on it will be lost")
    try:
        answer = ask(f"type the device name ({device}) to go on: ")
    except EOFError:
        answer = ""
    if answer.strip() != str(device):
        raise ImageError("not confirmed; nothing was written", code=TARGET)
    try:
        # Exclusive: the kernel refuses if something took the disk since we looked.
        with (
            image.open("rb") as source,
            open(os.open(device, os.O_RDWR | os.O_EXCL), "r+b", buffering=0) as raw,
        ):
            wanted = copy(source, raw, size, show("written", size))
            found = read_back(raw, size, show("verified", size))
    except OSError as exc:
        raise ImageError(f"{device}: {exc.strerror}", code=TARGET) from exc
    if found != wanted:
        message = f"{device}: reads back as {found[:16]}…, written was {wanted[:16]}…"
        raise ImageError(message, hint="the medium is broken; use another", code=TARGET)
    say(f"done: {device} holds {image.name}, sha256 {wanted}")
