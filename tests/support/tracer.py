"""Whatever the node opens for writing, creates, renames or binds by a name, seen as it happens.

An audit hook sees every such call of this process and looks up the stack for who made it. The
node's calls are those with a frame of ``overlay_edge`` before one of a test, and those that a
library makes from the event loop or a thread with neither. ``ronctl`` is not the node. Let
through is what is in RAM: tmpfs, memfds, two kinds of devices, and ``/proc/self``.

What the hook cannot see (writing to what is open already, ``mknod``, code that is not Python)
is for ``tests/wiring/test_disk.py``, which looks at system calls.
"""

import os
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from overlay_edge.host.mounts import TABLE, mount_of, read_mounts

ROOT = Path(__file__).parents[2]
NODE, TOOL, TESTS = (f"{ROOT}/{part}/" for part in ("overlay_edge", "overlay_edge/ctl", "tests"))
SITE = sysconfig.get_path("purelib")
MACHINERY = tuple(
    f"{SITE}/{name}" for name in ("_pytest", "pytest", "pluggy", "hypothesis", "_hypothesis")
)
OTHERS = (TOOL, TESTS, *MACHINERY)
LOOP = ("/asyncio/events.py", "/threading.py", "/concurrent/futures/thread.py")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
DEVICE = re.compile(r"/dev/(null|gpiochip[0-9]+)")  # nothing that is written there is kept
MOUNTS = read_mounts(Path(f"/{TABLE}").read_text())


class Tracer:
    """What was seen while it was at work; only one is at a time."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._is_looking = False

    def see(self, event: str, args: tuple[object, ...]) -> None:
        """Judge one event."""
        if self._is_looking:  # our own look at the file system
            return
        self._is_looking = True
        try:
            if (frame := _blamed(sys._getframe(2))) is _NOBODY:
                return
            for path in EVENTS[event](args, frame):
                if reason := _outside(path):
                    self.found.append(f"{event} {path!r} ({reason}) by {_place(frame)}")
        except Exception as exc:  # what cannot be judged is not let through
            self.found.append(f"{event} {args!r}: {exc!r}")
        finally:
            self._is_looking = False


_current: Tracer | None = None
_is_installed = False


@contextmanager
def tracing() -> Iterator[Tracer]:
    """Look at what is done inside; the tracer that was at work before rests meanwhile."""
    global _current, _is_installed
    if not _is_installed:
        sys.addaudithook(_hook)
        _is_installed = True
    before, _current = _current, Tracer()
    try:
        yield _current
    finally:
        _current = before


def _hook(event: str, args: tuple[object, ...]) -> None:
    if _current is not None and event in EVENTS:
        _current.see(event, args)


# -- who ---------------------------------------------------------------------------------------

_NOBODY = object()


def _blamed(frame: FrameType | None) -> object:
    """The frame of the node that did it, None for one of its libraries, or ``_NOBODY``."""
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(OTHERS):
            return _NOBODY
        if name.startswith(NODE):
            return frame
        if name.endswith(LOOP):
            return None
        frame = frame.f_back
    return None


def _place(frame: object) -> str:
    if not isinstance(frame, FrameType):
        return "a library"
    return f"{frame.f_code.co_filename.removeprefix(f'{ROOT}/')}:{frame.f_lineno}"


# -- what --------------------------------------------------------------------------------------

Paths = Iterator[object]


def _opened(args: tuple[object, ...], frame: object) -> Paths:
    path, mode, flags = args
    by_mode = isinstance(mode, str) and not set("wax+").isdisjoint(mode)
    if by_mode or (isinstance(flags, int) and flags & WRITES):
        yield _beside(path, frame)


def _beside(path: object, frame: object) -> object:
    """A relative name is opened in a folder that the event does not tell: the store's own."""
    folder = getattr(getattr(frame, "f_locals", {}).get("self"), "_dir", None)
    if isinstance(path, str) and not path.startswith("/") and isinstance(folder, int):
        return f"{os.readlink(f'/proc/self/fd/{folder}')}/{path}"
    return path


def _named(
    *at: int, folders: tuple[int, ...] = ()
) -> Callable[[tuple[object, ...], object], Paths]:
    """Paths at these places of the event, each with the place of its folder's descriptor."""

    def find(args: tuple[object, ...], _frame: object) -> Paths:
        for number, place in enumerate(at):
            path = args[place]
            folder = args[folders[number]] if folders else -1
            if isinstance(path, str) and isinstance(folder, int) and folder >= 0:
                path = f"{os.readlink(f'/proc/self/fd/{folder}')}/{path}"
            yield path

    return find


def _bound(args: tuple[object, ...], _frame: object) -> Paths:
    address = args[1]
    if isinstance(address, str | bytes) and os.fsencode(address)[:1] not in {b"", b"\0"}:
        yield address


def _program(args: tuple[object, ...], _frame: object) -> Paths:
    yield f"<a program: {args[0]!r}>"


EVENTS: dict[str, Callable[[tuple[object, ...], object], Paths]] = {
    "open": _opened,
    "os.chmod": _named(0, folders=(2,)),
    "os.chown": _named(0, folders=(3,)),
    "os.link": _named(0, 1, folders=(2, 3)),
    "os.mkdir": _named(0, folders=(2,)),
    "os.remove": _named(0, folders=(1,)),
    "os.removexattr": _named(0),
    "os.rename": _named(0, 1, folders=(2, 3)),
    "os.rmdir": _named(0, folders=(1,)),
    "os.setxattr": _named(0),
    "os.symlink": _named(1, folders=(2,)),
    "os.truncate": _named(0),
    "os.utime": _named(0, folders=(3,)),
    "socket.bind": _bound,
    "sqlite3.connect": _named(0),
    "subprocess.Popen": _program,
    "os.exec": _program,
    "os.posix_spawn": _program,
    "os.system": _program,
}


# -- where -------------------------------------------------------------------------------------


def _outside(path: object) -> str:
    """Why a path is not RAM, or nothing."""
    if isinstance(path, int):
        if path < 0:
            return ""  # no file at all: the call fails
        path = f"/proc/self/fd/{path}"
    if not isinstance(path, str | bytes | os.PathLike):
        return "not a path"
    name = os.fsdecode(path)
    if name.startswith("<"):
        return "what it writes is not seen"
    full = os.path.abspath(name)
    if full.startswith(("/proc/self/fd/", f"/proc/{os.getpid()}/fd/")):
        target = os.readlink(full)
        if target.startswith(("/memfd:", "pipe:", "socket:", "anon_inode:")):
            return ""
        full = target
    elif full.startswith(("/proc/self/", f"/proc/{os.getpid()}/")) or DEVICE.fullmatch(full):
        return ""
    mount = mount_of(os.path.realpath(full), MOUNTS)
    if mount is not None and mount.is_ram:
        return ""
    return f"on {mount.fs}" if mount else "on no known mount"
