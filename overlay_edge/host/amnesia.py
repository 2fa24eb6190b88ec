"""The promise to stay in RAM: what is checked, and what takes the place of files.

A path may only be used for data if it lies on tmpfs or ramfs. What insists on a path, such as
a library that loads a key, gets a memfd: ``/proc/self/fd/N`` names it, no disk has it, and it
is gone with the process.
"""

import os
import re
import resource
from typing import NamedTuple

from overlay_edge.errors import PolicyError

RAM_FILE_SYSTEMS = ("tmpfs", "ramfs")
MAX_FDS = 1 << 16  # more serves nobody here, and some libraries walk all of them
RAM_HINT = "use a directory on tmpfs, such as /run/overlay-edge, or leave store.path empty"


class Mount(NamedTuple):
    """One line of the mount table: where, and what kind of file system."""

    point: str
    fs: str


def require_ram(path: str) -> str:
    """Resolve a directory and insist that it is in RAM.

    Returns:
        The path with every symbolic link resolved; use this one.

    Raises:
        PolicyError: It is not a directory on tmpfs or ramfs.
    """
    real = os.path.realpath(path)
    if not os.path.isdir(real):
        raise PolicyError(f"{path}: no such directory, expected one on tmpfs", hint=RAM_HINT)
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            mount = mount_of(real, table.read())
    except OSError as exc:
        raise PolicyError(f"{path}: the mount table is unreadable ({exc.strerror})") from exc
    if mount is None or mount.fs not in RAM_FILE_SYSTEMS:
        found = f"on {mount.fs} (mounted at {mount.point})" if mount else "on no known mount"
        raise PolicyError(f"{path}: {found}, expected tmpfs", hint=RAM_HINT)
    return real


def mount_of(path: str, mountinfo: str) -> Mount | None:
    """The mount a resolved path lies on: the longest prefix, of equals the last one mounted."""
    best: Mount | None = None
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if len(fields) < 6 or not kind[0]:
            continue
        point = _unescaped(fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and (best is None or len(point) >= len(best.point)):
            best = Mount(point, kind[0])
    return best


def limit_core_dumps() -> None:
    """Forbid core dumps: they would write the objects and keys in memory to a disk."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def raise_fd_limit() -> int:
    """Allow as many descriptors as the machine lets us have.

    Returns:
        The limit now in force. Objects, connections and the program share it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FDS if hard == resource.RLIM_INFINITY else min(hard, MAX_FDS)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MAX_FDS if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # a sandbox may forbid it; what we have must do
        return soft
    return wanted


def memfd(name: str, data: bytes) -> int:
    """Put bytes where a path can name them without a disk.

    Returns:
        A descriptor at offset 0, not inherited by children. The caller closes it.
    """
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def memfd_path(fd: int) -> str:
    """The path of a memfd, for as long as it is open, in this process."""
    return f"/proc/self/fd/{fd}"


def _unescaped(text: str) -> str:
    r"""Undo the mount table's escapes of space, tab, newline and backslash: ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
