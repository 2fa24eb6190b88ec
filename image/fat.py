"""Makes the FAT32 file system of the medium, without mounting anything."""

import os
from pathlib import Path

from image.run import run

SECTOR = 512
RESERVED_SECTORS = 32
PARTITION_START = 2048  # sectors; the usual 1 MiB alignment
MIN_CLUSTERS = 65525 + 16  # fewer would be FAT16 to some firmware


def sectors_for(sizes: list[int], slack_bytes: int) -> int:
    """Sectors of a volume that holds files of these sizes, with one-sector clusters.

    Args:
        sizes: File lengths in bytes.
        slack_bytes: Room left for the site file and folders.
    """
    data = sum(-(-size // SECTOR) for size in sizes) + slack_bytes // SECTOR
    clusters = max(data, MIN_CLUSTERS)
    fat = -(-(clusters + 2) * 4 // SECTOR)
    return RESERVED_SECTORS + 2 * fat + clusters


def make(tree: Path, volume: Path, *, label: str, serial: int, epoch: int, slack: int) -> None:
    """Put a folder tree into a new FAT32 volume; the same tree gives the same bytes.

    Args:
        tree: What the volume holds.
        volume: The file to write.
        label: Volume name, upper case.
        serial: Volume id; the guest finds its medium by it.
        epoch: Time stamp of everything, in seconds since 1970.
        slack: Free room in bytes.
    """
    paths = sorted(tree.rglob("*"))
    files = [path for path in paths if path.is_file()]
    sectors = sectors_for([path.stat().st_size for path in files], slack)
    env = {"SOURCE_DATE_EPOCH": str(epoch), "MTOOLS_SKIP_CHECK": "1"}
    volume.unlink(missing_ok=True)
    with volume.open("wb") as file:
        file.truncate(sectors * SECTOR)
    make_fs = ["mkfs.vfat", "-F", "32", "-s", "1", "-R", str(RESERVED_SECTORS), "--invariant"]
    make_fs += ["-h", str(PARTITION_START), "-i", f"{serial:08X}", "-n", label]
    run([*make_fs, volume], env=env)
    for path in paths:
        os.utime(path, (epoch, epoch))
    folders = [f"::{p.relative_to(tree).as_posix()}" for p in paths if p.is_dir()]
    if folders:
        run(["mmd", "-i", volume, *folders], env=env)
    for path in files:
        inside = f"::{path.relative_to(tree).as_posix()}"
        run(["mcopy", "-m", "-i", volume, path, inside], env=env)


def read(image: Path, name: str, into: Path, *, offset: int = PARTITION_START * SECTOR) -> None:
    """Copy one file out of the partition of a whole-disk image."""
    run(["mcopy", "-n", "-i", f"{image}@@{offset}", f"::{name}", into])


def copy_in(image: Path, source: Path, name: str) -> None:
    """Put one file into the partition of a whole-disk image, as a person with a card would."""
    start = PARTITION_START * SECTOR
    env = {"MTOOLS_SKIP_CHECK": "1"}
    run(["mcopy", "-o", "-i", f"{image}@@{start}", source, f"::{name}"], env=env)
