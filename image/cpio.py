"""Writes a cpio archive (newc) whose bytes depend on names and contents alone.

Owners, times, inode numbers and modes come from here, never from the disk, so neither the building
user nor the umask shows; and device nodes need no root.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAGIC = b"070701"
BLOCK = 512
DIRECTORY, REGULAR, LINK, CHARACTER = 0o040000, 0o100000, 0o120000, 0o020000


@dataclass(frozen=True, slots=True)
class Entry:
    """One member of the archive; owner is always root."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def entries(root: Path) -> Iterator[Entry]:
    """The members of a folder tree, parents first; only the exec bit is taken from the disk."""
    for path in sorted(root.rglob("*"), key=lambda p: p.relative_to(root).parts):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            yield Entry(name, LINK | 0o777, str(path.readlink()).encode())
        elif path.is_dir():
            yield Entry(name, DIRECTORY | (0o1777 if name == "tmp" else 0o755))
        else:
            is_exec = path.stat().st_mode & 0o100
            yield Entry(name, REGULAR | (0o755 if is_exec else 0o644), path.read_bytes())


def nodes() -> Iterator[Entry]:
    """The two device nodes the kernel and init need before devtmpfs is there."""
    yield Entry("dev/console", CHARACTER | 0o600, device=(5, 1))
    yield Entry("dev/null", CHARACTER | 0o666, device=(1, 3))


def pad(data: bytes, size: int = 4) -> bytes:
    """Fill up with zeros to a multiple of `size`."""
    return data + bytes(-len(data) % size)


def header(entry: Entry, inode: int, mtime: int) -> bytes:
    """The 110 bytes before a name: magic and thirteen fields of eight hex digits."""
    links = 2 if entry.mode & 0o170000 == DIRECTORY else 1
    fields = (inode, entry.mode, 0, 0, links, mtime, len(entry.data), 0, 0)
    numbers = (*fields, *entry.device, len(entry.name.encode()) + 1, 0)
    return MAGIC + b"".join(b"%08X" % number for number in numbers)


def write(members: Iterator[Entry], out: BinaryIO, *, mtime: int) -> int:
    """Write an archive and return its length in bytes."""
    total = 0
    trailer = Entry("TRAILER!!!", 0)
    for inode, entry in enumerate([*members, trailer], 1):
        is_last = entry is trailer
        head = header(entry, 0 if is_last else inode, 0 if is_last else mtime)
        total += out.write(pad(head + entry.name.encode() + b"\0") + pad(entry.data))
    return total + out.write(bytes(-total % BLOCK))
