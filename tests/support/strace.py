"""System calls of another process: what it opens for writing, creates, renames or removes.

``strace`` prints one call a line; with ``-y`` it says which file a descriptor is. Every call
that takes a name is judged: those known to only look are let through, and the rest, also one
that nobody has heard of, counts as writing.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from overlay_edge.host.mounts import TABLE, mount_of, read_mounts

STRACE = shutil.which("strace")
WAIT_S = 20.0
CALLS = "trace=%file,?bind,?open_by_handle_at,?io_uring_setup,?swapon,?acct"
LOOKS = frozenset(
    (
        *("access", "faccessat", "faccessat2", "stat", "lstat", "newfstatat", "fstatat64", "statx"),
        *("statfs", "readlink", "readlinkat", "getcwd", "chdir", "getxattr", "lgetxattr"),
        *("listxattr", "llistxattr", "inotify_add_watch", "execve"),
    )
)
OPENS = frozenset(("open", "openat", "openat2", "creat"))
WRITES = re.compile(r"\bO_(WRONLY|RDWR|CREAT|TRUNC|APPEND|TMPFILE)\b")
LINE = re.compile(r"^\d+ +(?:<\.\.\. )?([a-z_0-9]+)(?:\((.*)| resumed>(.*))$")
QUOTED = re.compile(r'(?:(AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"(\.\.\.)?')
RESULT = re.compile(r"\) += (?:\d+<(.*)>|.*)$")
END = re.compile(r"^\d+ +\+\+\+ (exited with|killed by) .*\+\+\+$")


def unusable() -> str:
    """Why system calls cannot be looked at here, or nothing."""
    if STRACE is None:
        return "the Debian package strace is not installed"
    if os.geteuid() != 0:
        return "a process that cannot be dumped hides its names from its own user: needs root"
    if subprocess.run([STRACE, "-qq", "-o", os.devnull, "true"]).returncode:
        return "ptrace is not allowed here"
    return ""


def command(output: Path) -> tuple[str, ...]:
    """What to put before a program: it stays our child, the tracer is beside it."""
    assert STRACE
    return (STRACE, "-D", "-f", "-q", "-y", "-s", "4096", "-e", CALLS, "-o", str(output))


def finished(output: Path, pid: int) -> str:
    """What was written, once the process has ended in it."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        text = output.read_text(errors="replace")
        if any(END.match(line) and line.startswith(f"{pid} ") for line in text.splitlines()):
            return text
        time.sleep(0.01)  # it writes when it likes and has no bell
    raise AssertionError("strace did not see the end of the process")


def outside(text: str, pid: int) -> list[str]:
    """Calls that write somewhere else than into RAM, as they were printed."""
    mounts = read_mounts(Path(f"/{TABLE}").read_text())
    found = []
    for call, line in _calls(text):
        for path in _written(call, line):
            if not _is_ram(path, pid, mounts):
                found.append(f"{path}: {line}")
    return found


def _calls(text: str) -> Iterator[tuple[str, str]]:
    """Name and line of each call; one that another thread interrupted is put together again."""
    begun: dict[str, str] = {}
    for line in text.splitlines():
        if END.match(line) or " --- " in line:
            continue
        thread = line.partition(" ")[0]
        if line.endswith(" <unfinished ...>"):
            begun[thread] = line.removesuffix(" <unfinished ...>")
            continue
        match = LINE.match(line)
        if match is None:
            raise AssertionError(f"strace printed something unknown: {line}")
        whole = begun.pop(thread) + match[3] if match[3] is not None else line
        yield match[1], whole


def _written(call: str, line: str) -> Iterator[str]:
    """Names that a call writes to; the resolved one where strace knows it."""
    if call in LOOKS:
        return
    if call in OPENS:
        if call != "creat" and not WRITES.search(line):
            return
        result = RESULT.search(line)
        if result is not None and result[1]:
            yield result[1].removesuffix("(deleted)").rstrip()
            return
    if call == "bind":
        if "sa_family=AF_UNIX" in line and 'sun_path="' in line:
            yield line.partition('sun_path="')[2].partition('"')[0]
        return
    names = list(QUOTED.finditer(line))
    if not names:  # an address instead of a name, or a call that needs none: not let through
        yield "?"
    for name in names:
        text = name[3].encode().decode("unicode_escape")
        yield os.path.join(name[2] or os.getcwd(), text)


def _is_ram(path: str, pid: int, mounts: object) -> bool:
    assert isinstance(mounts, tuple)
    if path == os.devnull or re.match(rf"/proc/(self|{pid})/(?!fd/|cwd|root)", path):
        return True
    if path.startswith(("/memfd:", "pipe:", "socket:")):
        return True
    if not path.startswith("/"):
        return False
    mount = mount_of(os.path.realpath(path), mounts)
    return mount is not None and mount.is_ram
