"""The mount table: which file system a path lies on, and whether that one is RAM."""

import re
from collections.abc import Iterable
from typing import NamedTuple

# The kernel's first root is a ramfs or tmpfs under another name.
RAM_FILE_SYSTEMS = ("tmpfs", "ramfs", "rootfs")
TABLE = "proc/self/mountinfo"


class Mount(NamedTuple):
    """One line of the mount table.

    Attributes:
        point: Where it is mounted.
        fs: What kind of file system.
        options: Of this mount and of the file system under it, by name.
    """

    point: str
    fs: str
    options: frozenset[str] = frozenset()

    @property
    def is_ram(self) -> bool:
        """True if what is written there is in memory only, unless there is swap."""
        return self.fs in RAM_FILE_SYSTEMS

    @property
    def is_writable(self) -> bool:
        """True unless this mount, or the file system under it, is read-only."""
        return "ro" not in self.options


def read_mounts(mountinfo: str) -> tuple[Mount, ...]:
    """Every mount of a table as ``/proc/self/mountinfo`` has it; other lines are passed over."""
    found = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if len(fields) < 6 or not kind[0]:
            continue
        options = {*fields[5].split(","), *(kind[2].split(",") if len(kind) > 2 else ())}
        found.append(Mount(_unescaped(fields[4]), kind[0], frozenset(options)))
    return tuple(found)


def mount_of(path: str, mounts: Iterable[Mount]) -> Mount | None:
    """The mount a resolved path lies on: the longest prefix, of equals the last one mounted."""
    best: Mount | None = None
    for mount in mounts:
        inside = path == mount.point or path.startswith(mount.point.rstrip("/") + "/")
        if inside and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def where(mount: Mount | None) -> str:
    """Where a path lies, for people: ``on ext4 (mounted at /)``."""
    return f"on {mount.fs} (mounted at {mount.point})" if mount else "on no known mount"


def _unescaped(text: str) -> str:
    r"""Undo the mount table's escapes of space, tab, newline and backslash: ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
