"""Wraps a FAT volume into a disk: one MBR partition that UEFI and Raspberry Pi firmware start."""

import shutil
import struct
from pathlib import Path

SECTOR = 512
FAT32_LBA = 0x0C  # both firmwares take this type; UEFI also reads plain MBR disks
ACTIVE = 0x80
NO_CHS = b"\xfe\xff\xff"  # "beyond cylinders": everything reads the LBA fields


def boot_sector(signature: int, start: int, sectors: int) -> bytes:
    """The first 512 bytes of the disk.

    Args:
        signature: Disk id.
        start: First sector of the partition.
        sectors: Its length.
    """
    first = struct.pack("<B3sB3sII", ACTIVE, NO_CHS, FAT32_LBA, NO_CHS, start, sectors)
    sector = bytes(440) + struct.pack("<IH", signature, 0) + first
    return sector.ljust(510, b"\0") + b"\x55\xaa"


def wrap(volume: Path, image: Path, *, signature: int, start: int) -> None:
    """Write the disk image: boot sector, gap, volume."""
    sectors = volume.stat().st_size // SECTOR
    with image.open("wb") as out, volume.open("rb") as source:
        out.write(boot_sector(signature, start, sectors).ljust(start * SECTOR, b"\0"))
        shutil.copyfileobj(source, out, 1 << 20)
