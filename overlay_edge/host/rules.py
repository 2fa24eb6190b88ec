"""What leaving nothing behind means, rule by rule: each says how it is known, not that it is so.

Required rules are in our hands or the operator's, and without them the promise is worth
nothing: a node does not start while one is broken, and is not ready when one breaks later.
The others belong to the image and its kernel; a workstation breaks some of them, and is told.
"""

import math
import os
import re
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from overlay_edge.host import dumps, residue
from overlay_edge.host.mounts import TABLE, Mount, mount_of, read_mounts, where

OFTEN_S = 1.0  # a page or two of the kernel's and a few calls: 0.1 ms
SELDOM_S = 10.0  # walks the mount table, which has hundreds of lines where containers run
ONCE = math.inf  # cannot change while the process lives
NOSWAP_KERNEL = (6, 4)  # the first whose tmpfs can be mounted noswap
MAX_NAMED = 3  # of several that are wrong
# Kept by nobody: the kernel makes up what is read there. Of efivarfs and pstore this is not true.
PSEUDO = frozenset(
    (
        *("autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts"),
        *("devtmpfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "rpc_pipefs"),
        *("securityfs", "selinuxfs", "sysfs", "tracefs"),
    )
)


class Standing(StrEnum):
    """How a rule stands."""

    KEPT = "kept"
    BROKEN = "broken"
    UNKNOWN = "unknown"
    NOT_HERE = "not here"


HOLDING = frozenset({Standing.KEPT, Standing.NOT_HERE})


class Found(NamedTuple):
    """What a look brought: the state, why in a few words, and what would help."""

    state: Standing
    detail: str
    hint: str = ""


@dataclass(slots=True)
class Scope:
    """What the rules are asked about.

    Attributes:
        root: Where /proc and /sys are.
        paths: Files and folders that the settings name, by their keys; empty ones are left out.
        log_fds: Descriptors that what is said goes to.
    """

    root: Path = Path("/")
    paths: Mapping[str, str] = field(default_factory=dict)
    log_fds: tuple[int, ...] = (1, 2)


class Rule(NamedTuple):
    """One part of the promise.

    Attributes:
        name: For people and metrics.
        promise: What holds while it is kept.
        known_by: What is looked at.
        look: Looks; raises OSError if the machine does not tell.
        required: A node does not run without it.
        every_s: A look is good for this long.
    """

    name: str
    promise: str
    known_by: str
    look: Callable[[Scope], Found]
    required: bool = False
    every_s: float = SELDOM_S

    def find(self, scope: Scope) -> Found:
        """Look; what the machine does not tell is unknown."""
        try:
            return self.look(scope)
        except OSError as exc:
            name = f"{exc.filename}: " if exc.filename else ""
            return Found(Standing.UNKNOWN, f"{name}{exc.strerror or exc}")


# -- required ------------------------------------------------------------------------------------


def paths(scope: Scope) -> Found:
    """Whatever the settings name lies in RAM."""
    if not scope.paths:
        return Found(Standing.KEPT, "the settings name no file")
    mounts = _mounts(scope)
    wrong = []
    for key, path in scope.paths.items():
        mount = mount_of(os.path.realpath(path), mounts)
        if not _is_memfd(path) and (mount is None or not mount.is_ram):
            wrong.append(f"{key} is {path}, {where(mount)}")
    if wrong:
        return Found(
            Standing.BROKEN,
            f"{_some(wrong, '; ')}, expected tmpfs or ramfs",
            "copy it to a folder under /run and name that one, or run with --amnesia off",
        )
    return Found(Standing.KEPT, f"in RAM: {', '.join(scope.paths)}")


def swap(scope: Scope) -> Found:
    """No page of memory can be written to a disk, or compressed into what outlives it."""
    table = _page(scope, "proc/swaps")
    if table is None:
        return Found(Standing.NOT_HERE, "this kernel cannot swap")
    areas = [line.split()[0] for line in table.splitlines()[1:] if line.strip()]
    if areas:
        hint = "swapoff -a, or run with --amnesia off (OVERLAY_AMNESIA=off)"
        return Found(Standing.BROKEN, f"swap on {_some(areas)}, expected none", hint)
    return Found(Standing.KEPT, "no swap")


def core_dumps(scope: Scope) -> Found:
    """See :mod:`overlay_edge.host.dumps`."""
    if found := dumps.open_ways(scope.root):
        return Found(Standing.BROKEN, f"{', '.join(found)}, expected no way to dump memory")
    return Found(Standing.KEPT, "limit 0, filter 0, not dumpable")


def log(scope: Scope) -> Found:
    """What is printed goes to no file on a disk. Who reads a pipe must not keep it either."""
    names = {1: "stdout", 2: "stderr"}
    kinds, wrong = [], []
    for fd in scope.log_fds:
        name = names.get(fd, str(fd))
        try:
            mode = os.fstat(fd).st_mode
        except OSError:
            kinds.append(f"{name} is closed")
            continue
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            kinds.append(f"{name} is a {_kind(mode)}")
            continue
        path = os.readlink(f"/proc/self/fd/{fd}").removesuffix(" (deleted)")
        mount = mount_of(path, _mounts(scope))
        is_ram = path.startswith("/memfd:") or (mount is not None and mount.is_ram)
        if is_ram and stat.S_ISREG(mode):
            kinds.append(f"{name} is a file in RAM")
        else:
            wrong.append(f"{name} is {path}, {where(mount)}")
    if wrong:
        hint = "send it through a pipe, or to a file under /run"
        return Found(Standing.BROKEN, f"{_some(wrong)}, expected no file on a disk", hint)
    return Found(Standing.KEPT, ", ".join(kinds) or "lines stay in this process")


# -- told ----------------------------------------------------------------------------------------


def allocator(_scope: Scope) -> Found:
    """Measured; see :mod:`overlay_edge.host.residue`."""
    found = residue.measure()
    shown = ", ".join(f"{r.readable} of {r.freed} of {r.size} B" for r in found)
    if any(r.readable for r in found):
        return Found(Standing.BROKEN, f"freed and still readable: {shown}")
    return Found(Standing.KEPT, f"freed and still readable: {shown}")


def freed_pages(scope: Scope) -> Found:
    """The kernel writes zeros over pages it gets back."""
    words = (_page(scope, "proc/cmdline") or "").split()
    told = [word.partition("=")[2] for word in words if word.startswith("init_on_free=")]
    if told:
        is_on = told[-1].lower() in {"1", "y", "on"}
        return Found(Standing.KEPT if is_on else Standing.BROKEN, f"init_on_free={told[-1]}")
    import gzip  # where the command line says it, nobody unpacks anything

    try:
        config = gzip.decompress((scope.root / "proc/config.gz").read_bytes())
    except FileNotFoundError:
        return Found(Standing.UNKNOWN, "no init_on_free; the kernel does not tell its default")
    is_on = b"\nCONFIG_INIT_ON_FREE_DEFAULT_ON=y\n" in config
    default = "on" if is_on else "off"
    return Found(
        Standing.KEPT if is_on else Standing.BROKEN, f"no init_on_free, {default} by default"
    )


def noswap(scope: Scope) -> Found:
    """The store's tmpfs would not be swapped even if there were swap."""
    path = scope.paths.get("store.path")
    if not path:
        return Found(Standing.NOT_HERE, "objects are in memory files, which have no mount")
    mount = mount_of(os.path.realpath(path), _mounts(scope))
    if mount is None:
        return Found(Standing.UNKNOWN, f"{path} is {where(mount)}")
    if mount.fs == "ramfs" or "noswap" in mount.options:
        return Found(Standing.KEPT, f"{mount.fs} on {mount.point}")
    release = _page(scope, "proc/sys/kernel/osrelease") or ""
    version = re.match(r"(\d+)\.(\d+)", release)
    if version is None:
        return Found(Standing.UNKNOWN, "the kernel does not tell its version")
    if (int(version[1]), int(version[2])) < NOSWAP_KERNEL:
        return Found(Standing.NOT_HERE, f"kernel {release.strip()} has no such option")
    return Found(Standing.BROKEN, f"{mount.fs} on {mount.point} is mounted without noswap")


def disks(scope: Scope) -> Found:
    """Nothing that outlives the power can be written, whoever tries."""
    mounts = [
        mount
        for mount in _mounts(scope)
        if mount.is_writable and not mount.is_ram and mount.fs not in PSEUDO
    ]
    if mounts:
        names = dict.fromkeys(f"{mount.point} ({mount.fs})" for mount in mounts)
        return Found(Standing.BROKEN, f"open for writing: {_some([*names])}")
    return Found(Standing.KEPT, "none is mounted, or read-only")


def bytecode(_scope: Scope) -> Found:
    """Python writes no compiled module beside its source."""
    if sys.dont_write_bytecode:
        return Found(Standing.KEPT, "set")
    return Found(Standing.BROKEN, "not set")


def pstore(scope: Scope) -> Found:
    """The kernel keeps no log of its last moments over a reboot."""
    backend = _page(scope, "sys/module/pstore/parameters/backend")
    if backend is None:
        return Found(Standing.NOT_HERE, "this kernel has no pstore")
    name = backend.strip()
    if name in {"", "(null)"}:
        return Found(Standing.KEPT, "no place to keep records")
    return Found(Standing.BROKEN, f"records are kept in {name}")


def kdump(scope: Scope) -> Found:
    """No second kernel waits to save memory when this one crashes."""
    loaded = _page(scope, "sys/kernel/kexec_crash_loaded")
    if loaded is None:
        return Found(Standing.NOT_HERE, "this kernel has no kdump")
    if loaded.strip() == "0":
        return Found(Standing.KEPT, "no crash kernel is loaded")
    return Found(Standing.BROKEN, "a crash kernel is loaded")


def hibernation(scope: Scope) -> Found:
    """Memory cannot be saved to a disk to go on later."""
    ways = _page(scope, "sys/power/disk")
    if ways is None:
        return Found(Standing.NOT_HERE, "this kernel cannot hibernate")
    if ways.strip() == "[disabled]":
        return Found(Standing.KEPT, "disabled")
    return Found(Standing.BROKEN, f"possible: {ways.strip()}")


RULES = (
    Rule("paths", "files that the settings name are in RAM", f"/{TABLE}", paths, True),
    Rule("swap", "no memory is swapped out", "/proc/swaps", swap, True, OFTEN_S),
    Rule(
        "core_dumps",
        "a crash leaves no image of memory",
        "RLIMIT_CORE, coredump_filter, PR_GET_DUMPABLE",
        core_dumps,
        True,
        OFTEN_S,
    ),
    Rule("log", "the log goes to no disk", "stat of stdout and stderr", log, True, OFTEN_S),
    Rule(
        "allocator",
        "freed memory is overwritten",
        "a probe that frees and looks",
        allocator,
        every_s=ONCE,
    ),
    Rule(
        "freed_pages",
        "the kernel wipes pages it gets back",
        "/proc/cmdline, /proc/config.gz",
        freed_pages,
        every_s=ONCE,
    ),
    Rule("noswap", "the store's file system is never swapped", f"/{TABLE}", noswap),
    Rule("disks", "no disk is mounted for writing", f"/{TABLE}", disks),
    Rule("bytecode", "no compiled module is written", "sys.dont_write_bytecode", bytecode),
    Rule(
        "pstore", "no log of a crash outlives it", "/sys/module/pstore/parameters/backend", pstore
    ),
    Rule("kdump", "no crash kernel saves memory", "/sys/kernel/kexec_crash_loaded", kdump),
    Rule("hibernation", "memory is never saved to a disk", "/sys/power/disk", hibernation),
)


# -- reading -------------------------------------------------------------------------------------


def _page(scope: Scope, name: str) -> str | None:
    """A page of the kernel's, None if this kernel has none like it.

    Raises:
        OSError: It cannot be read, or nothing of its kind can.
    """
    try:
        return (scope.root / name).read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        if not (scope.root / ("proc/self" if name.startswith("proc/") else "sys/kernel")).exists():
            raise
        return None


def _mounts(scope: Scope) -> tuple[Mount, ...]:
    table = scope.root / TABLE
    return read_mounts(table.read_text(encoding="utf-8", errors="surrogateescape"))


def _is_memfd(path: str) -> bool:
    """True for the name that a memfd has: see :func:`overlay_edge.host.amnesia.memfd_path`."""
    if not re.fullmatch(r"/proc/(self|[0-9]+)/fd/[0-9]+", path):
        return False
    try:
        return os.readlink(path).startswith("/memfd:")
    except OSError:
        return False


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "pipe"
    return "socket" if stat.S_ISSOCK(mode) else "device"


def _some(names: list[str], between: str = ", ") -> str:
    shown = between.join(names[:MAX_NAMED])
    rest = len(names) - MAX_NAMED
    return f"{shown} and {rest} more" if rest > 0 else shown
