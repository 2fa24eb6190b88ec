"""Secrets: bytes that are zeroed when nobody needs them any more.

A ``bytes`` or ``str`` cannot be emptied: it stays in memory until something else takes its
place. A ``Secret`` is a mapping of its own, beside Python's heap. It is filled from a file or
from the kernel's randomness without a ``bytes`` in between, kept out of core dumps, swap and
children as far as the kernel lets us, and overwritten when it is closed.

What must be built from it for a moment, such as a request, is gathered into a ``bytearray`` of
its final size, because one that grows leaves its earlier copies behind, and wiped after use.
"""

import contextlib
import mmap
import os
from collections.abc import Iterable
from typing import Self

PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
# Of asm-generic/mman.h, where the mmap module has no name: keep the pages in RAM. Refused
# where RLIMIT_MEMLOCK is used up; then swap, if there is any, is the only thing lost.
MAP_LOCKED = 0x2000
MADVISE = (16, 18)  # DONTDUMP, WIPEONFORK (from Linux 4.14)


class Secret:
    """Some bytes in memory of their own; close it, or use it as a context.

    Args:
        capacity: Bytes that it can hold at most.
    """

    __slots__ = ("_memory", "_size")

    def __init__(self, capacity: int) -> None:
        self._size = 0
        try:
            self._memory = mmap.mmap(-1, max(1, capacity), PRIVATE | MAP_LOCKED)
        except OSError:
            self._memory = mmap.mmap(-1, max(1, capacity), PRIVATE)
        for advice in MADVISE:
            with contextlib.suppress(OSError):
                self._memory.madvise(advice)

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"<secret of {self._size} bytes>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_memory"):
            self.close()

    def add(self, data: bytes) -> None:
        """Put bytes behind what is there; they are whoever's they were as well."""
        self._memory[self._size : self._size + len(data)] = data
        self._size += len(data)

    def fill(self, fd: int, count: int) -> int:
        """Read up to ``count`` bytes from a file behind what is there; return how many came."""
        with memoryview(self._memory) as whole, whole[self._size : self._size + count] as room:
            got = os.readv(fd, [room])
        self._size += got
        return got

    def add_random(self, count: int) -> None:
        """Put bytes of the kernel's randomness behind what is there."""
        os.getrandom(1)  # waits until the kernel has any: its device does not
        fd = os.open("/dev/urandom", os.O_RDONLY | os.O_CLOEXEC)
        try:
            end = self._size + count
            while self._size < end and self.fill(fd, end - self._size):
                pass
        finally:
            os.close(fd)

    def reveal(self) -> memoryview:
        """The bytes themselves: look, do not keep, and make no copy that is not wiped."""
        return memoryview(self._memory)[: self._size].toreadonly()

    def find(self, byte: bytes) -> int:
        """Where it is first, -1 if it is not."""
        return self._memory.find(byte, 0, self._size)

    def strip(self) -> None:
        """Take spaces and line ends away from both sides, as ``bytes.strip`` does."""
        with memoryview(self._memory) as whole:
            begin, end = 0, self._size
            while begin < end and whole[begin] in b" \t\n\r\v\f":
                begin += 1
            while end > begin and whole[end - 1] in b" \t\n\r\v\f":
                end -= 1
            whole[: end - begin] = whole[begin:end]
            whole[end - begin : self._size] = bytes(self._size - (end - begin))
            self._size = end - begin

    def close(self) -> None:
        """Overwrite every byte, and give the memory back; closing twice is harmless."""
        self._size = 0
        if self._memory.closed:
            return
        # Builtins only: at the end of the process, ours may be gone before the last secret is.
        with memoryview(self._memory) as whole:
            whole[:] = bytes(len(whole))
        try:  # noqa: SIM105
            self._memory.close()
        except BufferError:  # somebody still looks: at zeros
            pass


def gather(pieces: Iterable[bytes | memoryview]) -> bytearray:
    """One buffer with all pieces, made in its final size; :func:`wipe` it after use."""
    pieces = list(pieces)
    whole = bytearray(sum(map(len, pieces)))
    at = 0
    for piece in pieces:
        whole[at : at + len(piece)] = piece
        at += len(piece)
    return whole


def wipe(buffer: bytearray | memoryview) -> None:
    """Zeros over every byte, in place."""
    buffer[:] = bytes(len(buffer))
