"""What takes the place of files: directories that are RAM, and memfds.

A path may only be used for data if it lies on tmpfs or ramfs. What insists on a path, such as
a library that loads a key, gets a memfd: ``/proc/self/fd/N`` names it, no disk has it, and it
is gone with the process. What is promised of all this, and checked, is in ``rules``.
"""

import os
import resource

from overlay_edge.errors import PolicyError
from overlay_edge.host.mounts import TABLE, mount_of, read_mounts, where

MAX_FDS = 1 << 16  # more serves nobody here, and some libraries walk all of them
RAM_HINT = "use a directory on tmpfs, such as /run/overlay-edge, or leave store.path empty"


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
        with open(f"/{TABLE}", encoding="utf-8", errors="surrogateescape") as table:
            mount = mount_of(real, read_mounts(table.read()))
    except OSError as exc:
        raise PolicyError(f"{path}: the mount table is unreadable ({exc.strerror})") from exc
    if mount is None or not mount.is_ram:
        raise PolicyError(f"{path}: {where(mount)}, expected tmpfs", hint=RAM_HINT)
    return real


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
