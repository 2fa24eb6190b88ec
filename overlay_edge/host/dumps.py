"""Core dumps: a copy of memory with every object and key in it, on a disk. None is ever made.

Three things stand in the way, because none is enough alone:

    coredump_filter 0   no memory is written, whoever asks for a dump
    RLIMIT_CORE 0       no file is written; a ``core_pattern`` that is a pipe does not care
    dumpable 0          no dump at all, to a pipe neither, and no debugger of the same user

The order matters: once a process is not dumpable, its ``/proc/self/coredump_filter`` belongs
to root and cannot be written any more.
"""

import contextlib
import resource
from pathlib import Path

FILTER = "proc/self/coredump_filter"
PR_GET_DUMPABLE, PR_SET_DUMPABLE = 3, 4  # linux/prctl.h


def forbid(root: Path = Path("/")) -> None:
    """Put all three in the way, for the rest of the process; :func:`open_ways` tells the result."""
    with contextlib.suppress(OSError):  # a kernel without dumps has no such file
        (root / FILTER).write_bytes(b"0")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # a sandbox may forbid the call
        _prctl(PR_SET_DUMPABLE, 0)


def open_ways(root: Path = Path("/")) -> list[str]:
    """What would let a dump through, each in a few words.

    Raises:
        OSError: The kernel does not tell.
    """
    found = []
    if resource.getrlimit(resource.RLIMIT_CORE) != (0, 0):
        found.append("RLIMIT_CORE is not 0")
    try:
        mask = (root / FILTER).read_text().strip()
    except FileNotFoundError:
        if not (root / "proc/self").exists():
            raise
        mask = ""
    if mask.strip("0"):
        found.append(f"coredump_filter is {mask}")
    if dumpable := _prctl(PR_GET_DUMPABLE):
        found.append(f"the process is dumpable ({dumpable})")
    return found


def _prctl(option: int, value: int = 0) -> int:
    """The system call; the standard library has no name for it."""
    import ctypes  # 2 ms that only a node with a promise pays

    result: int = ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
    if result < 0:
        raise OSError(ctypes.get_errno(), "prctl")
    return result
