"""Where the bytes of objects lie: memfds, or files on a tmpfs. Both are RAM, both are wiped.

A ``Blob`` is one such file, held open: reading and wiping need no name. To wipe is to write
zeros over every page, then to cut the file to nothing, then to close it. The zeros are ours
and do not wait for the kernel to reuse the page.

Files on a tmpfs outlive a crash. They carry ``PREFIX``, and whoever opens the directory next
wipes what is left of them; a lock on the directory keeps two edges from sharing one.
"""

import errno
import fcntl
import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from overlay_edge.config import StoreConfig
from overlay_edge.errors import EdgeError, PolicyError
from overlay_edge.host.amnesia import require_ram

PREFIX = "overlay-edge-object-"
NAME = re.compile(re.escape(PREFIX) + r"[0-9]{1,20}")
OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
ZEROS = bytes(64 << 10)  # 16 pages a call: a page a call takes several times as long


class Blob:
    """The bytes of one object, written from the front, until it is wiped.

    Args:
        fd: Descriptor of an empty file, owned from now on.
        unlink: Takes the file's name away, if it has one.
    """

    __slots__ = ("_fd", "_unlink", "size")

    def __init__(self, fd: int, unlink: Callable[[], None] | None = None) -> None:
        self._fd = fd
        self._unlink = unlink
        self.size = 0

    @property
    def is_wiped(self) -> bool:
        """True when nothing is left."""
        return self._fd < 0

    def append(self, data: bytes) -> None:
        """Write behind what is there; OSError when the RAM given to us is used up."""
        rest = memoryview(data)
        while rest:
            done = os.pwrite(self._fd, rest, self.size)
            self.size += done
            rest = rest[done:]

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; fewer only at the end."""
        data = os.pread(self._fd, length, offset)
        while len(data) < min(length, self.size - offset):
            more = os.pread(self._fd, length - len(data), offset + len(data))
            if not more:
                raise OSError(errno.EIO, "object cut short by somebody else")
            data += more
        return data

    def wipe(self) -> None:
        """Zeros over every page, then nothing; wiping twice is harmless.

        Raises:
            PolicyError: The kernel did not let us.
        """
        if self.is_wiped:
            return
        try:
            self.overwrite()
            os.ftruncate(self._fd, 0)
        except OSError as exc:
            raise PolicyError(f"an object could not be wiped: {exc.strerror}") from exc
        finally:
            fd, self._fd, self.size = self._fd, -1, 0
            os.close(fd)
            if self._unlink is not None:
                self._unlink()

    def overwrite(self) -> None:
        """Write zeros over every byte that was ever written."""
        end = os.fstat(self._fd).st_size  # asked, not remembered: a leftover is not ours
        done = 0
        while done < end:
            done += os.pwrite(self._fd, memoryview(ZEROS)[: end - done], done)


class Medium(ABC):
    """Makes empty blobs."""

    max_blobs: int | None = None  # descriptors it may hold, None for as many as the config says

    @abstractmethod
    def create(self) -> Blob:
        """An empty blob; OSError when the machine has no file for us."""

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Let go of what is held beside the blobs; wipe those first."""


class MemfdMedium(Medium):
    """Blobs without any name.

    Args:
        max_blobs: Descriptors to use at most; connections need theirs from the same limit.
    """

    def __init__(self, max_blobs: int | None = None) -> None:
        self.max_blobs = max_blobs

    def create(self) -> Blob:
        """An empty memfd, closed in children."""
        return Blob(os.memfd_create("object", os.MFD_CLOEXEC))


class TmpfsMedium(Medium):
    """Blobs in a directory that was checked to be RAM.

    Args:
        path: The directory; ours alone while we run.
        max_blobs: Descriptors to use at most.

    Raises:
        PolicyError: The path is not RAM.
        EdgeError: Another edge uses it.
    """

    def __init__(self, path: str, max_blobs: int | None = None) -> None:
        self.max_blobs = max_blobs
        self._made = 0
        real = require_ram(path)
        try:
            self._dir = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as exc:
            raise PolicyError(f"{path}: cannot be opened ({exc.strerror})") from exc
        try:
            self._lock(path)
            self.leftovers = self._wipe_leftovers(path)
        except BaseException:
            os.close(self._dir)
            raise

    def create(self) -> Blob:
        """An empty file that only we may read."""
        while True:
            self._made += 1
            name = f"{PREFIX}{self._made}"
            with suppress(FileExistsError):  # somebody else's file: we neither use nor wipe it
                fd = os.open(name, OPEN | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._dir)
                return Blob(fd, partial(self._unlink, name))

    def close(self) -> None:
        """Give the directory back."""
        fd, self._dir = self._dir, -1
        if fd >= 0:
            os.close(fd)

    def _lock(self, path: str) -> None:
        try:
            fcntl.flock(self._dir, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            hint = "give each edge a store.path of its own"
            raise EdgeError(f"{path}: in use by another edge", hint=hint) from None

    def _wipe_leftovers(self, path: str) -> int:
        """Wipe what a crash left: plain files with a name like ours that belong to us."""
        count = 0
        for name in filter(NAME.fullmatch, os.listdir(self._dir)):
            found = os.stat(name, dir_fd=self._dir, follow_symlinks=False)
            ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
            if not ours or found.st_nlink != 1:
                continue
            try:
                fd = os.open(name, OPEN, dir_fd=self._dir)
            except OSError as exc:
                why = f"a leftover that cannot be wiped ({exc.strerror})"
                raise PolicyError(f"{path}/{name}: {why}") from exc
            Blob(fd, partial(self._unlink, name)).wipe()
            count += 1
        return count

    def _unlink(self, name: str) -> None:
        with suppress(FileNotFoundError):  # somebody cleaned up for us
            os.unlink(name, dir_fd=self._dir)


def open_medium(config: StoreConfig, *, max_blobs: int | None = None) -> Medium:
    """The medium the config asks for.

    Args:
        config: Says which by its path.
        max_blobs: Descriptors that are left for objects, from ``host.amnesia.raise_fd_limit``
            less what connections and the program need.

    Raises:
        PolicyError: ``store.path`` is not RAM.
        EdgeError: Another edge uses it.
    """
    if config.path:
        return TmpfsMedium(config.path, max_blobs)
    return MemfdMedium(max_blobs)
