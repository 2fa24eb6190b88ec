"""Reads the boot files out of an image, for boards whose own firmware QEMU does not have."""

import os
import shutil
import struct
import subprocess
from pathlib import Path

from qemu.errors import USAGE, QemuError

SECTOR = 512
CARD = "card.img"
FIRST_START = 454  # where the boot sector says at which sector the first partition begins


def partition_offset(image: Path) -> int:
    """Where the first partition begins, in bytes."""
    with image.open("rb") as file:
        sector = file.read(SECTOR)
    if sector[510:] != b"\x55\xaa":
        raise QemuError(f"{image}: no boot sector, expected a disk image", code=USAGE)
    return int(struct.unpack_from("<I", sector, FIRST_START)[0]) * SECTOR


def extract(image: Path, names: list[str], folder: Path) -> dict[str, Path]:
    """Copy files out of the image's partition; returns where each one lies now."""
    tool = shutil.which("mcopy")
    if not tool:
        raise QemuError("mcopy: not found", hint="apt-get install mtools", code=USAGE)
    source = f"{image}@@{partition_offset(image)}"
    found = {name: folder / name for name in names}
    for name, target in found.items():
        argv = [tool, "-n", "-i", source, f"::{name}", str(target)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise QemuError(f"{image}: {name}: {done.stderr.strip()}", code=USAGE)
    return found


def padded_copy(image: Path, folder: Path) -> Path:
    """A copy as large as the next power of two: QEMU takes no other size for an SD card."""
    card = folder / CARD
    shutil.copyfile(image, card)
    size = image.stat().st_size
    os.truncate(card, 1 << (size - 1).bit_length())
    return card


def is_untouched(card: Path, image: Path) -> bool:
    """Whether a padded copy still has the image's bytes, and nothing behind them."""
    with card.open("rb") as one, image.open("rb") as other:
        while chunk := other.read(1 << 20):
            if one.read(len(chunk)) != chunk:
                return False
        while chunk := one.read(1 << 20):
            if any(chunk):
                return False
    return True
