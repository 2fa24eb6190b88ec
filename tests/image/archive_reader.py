"""Reads newc archives: an independent check of the writer, and a way into a built initramfs."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from image import fat


@dataclass(frozen=True)
class Member:
    name: str
    mode: int
    owner: tuple[int, int]
    mtime: int
    device: tuple[int, int]
    data: bytes


def read(archive: bytes) -> list[Member]:
    members: list[Member] = []
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        f = [int(archive[at + 6 + n * 8 : at + 14 + n * 8], 16) for n in range(13)]
        name = archive[at + 110 : at + 110 + f[11] - 1].decode()
        start = at + (110 + f[11] + 3) // 4 * 4
        if name == "TRAILER!!!":
            return members
        data = archive[start : start + f[6]]
        members.append(Member(name, f[1], (f[2], f[3]), f[5], (f[9], f[10]), data))
        at = start + (f[6] + 3) // 4 * 4


def initramfs_of(image: Path, scratch: Path) -> list[Member]:
    """The members of the initramfs inside a disk image."""
    packed = scratch / "initrd.zst"
    fat.read(image, "initrd.zst", packed)
    tool = shutil.which("zstd") or "zstd"
    done = subprocess.run([tool, "-dc", packed], check=True, capture_output=True)
    return read(done.stdout)


def unpack(members: list[Member], root: Path) -> None:
    """Write files, folders and links; device nodes are left out."""
    for member in members:
        path = root / member.name
        path.parent.mkdir(parents=True, exist_ok=True)
        match member.mode & 0o170000:
            case 0o040000:
                path.mkdir(parents=True, exist_ok=True)
            case 0o120000:
                path.symlink_to(member.data.decode())
            case 0o100000:
                path.write_bytes(member.data)
                path.chmod(member.mode & 0o777)
