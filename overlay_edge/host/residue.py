"""Residue: what can still be read of objects that were freed, measured and not believed.

A few ``bytes`` of a random word are made and freed, and the memory they had is looked at. It
is read by handing its address to ``write`` and a pipe: a page that is gone meanwhile is an
error of that call, not a crash of ours.

Objects of which something was left, of 32, with glibc 2.36 and CPython 3.11:

    bytes of an object                     40    300   5000
    Python's own allocator                 31     32     32
    PYTHONMALLOC=malloc                    31     32     32
      + glibc.malloc.perturb=165            6      7      0   the 7 of each size up to 1032 B
                                                              that a thread keeps at hand
      + glibc.malloc.tcache_count=0         0      0      0

perturb leaves the last 8 bytes of a freed chunk alone, where a ``bytes`` has at most 7 of its
own: they were there of 27 of 32 objects of 39 B, and of 1 with glibc.malloc.mxfast=0, because
most freed chunks then get their size written there. Hence a word of 8 bytes is looked for.
"""

import os
from collections.abc import Callable
from typing import NamedTuple

SIZES = (40, 300, 5000)  # the two kinds of small chunks, and what no cache takes
EACH = 16  # more than the 7 that a thread keeps at hand
WORD_BYTES = 8


class Residue(NamedTuple):
    """Of so many freed objects of a size, how many could be read."""

    size: int
    freed: int
    readable: int


def measure(sizes: tuple[int, ...] = SIZES, each: int = EACH) -> tuple[Residue, ...]:
    """Free objects and look.

    Raises:
        OSError: There is no way to look.
    """
    import ctypes

    write = ctypes.CDLL(None, use_errno=True).write
    write.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return tuple(_measure(size, each, write, reading, writing) for size in sizes)
    finally:
        os.close(reading)
        os.close(writing)


def _measure(
    size: int, each: int, write: Callable[[int, int, int], int], reading: int, writing: int
) -> Residue:
    word = os.urandom(WORD_BYTES)
    pattern = bytearray(word * (size // WORD_BYTES + 1))[:size]
    seen = bytearray(size)  # made before: what is made after the freeing takes freed memory
    begin = bytes.__basicsize__ - 1  # of the data in a bytes object
    objects, between = [], []
    for _ in range(each):
        objects.append(bytes(pattern))
        between.append(
            bytes(size)
        )  # keeps neighbours from being merged, and the heap from shrinking
    addresses = [id(one) + begin for one in objects]
    while objects:
        objects.pop()
    readable = 0
    for address in addresses:
        if write(writing, address, size) == size:
            os.readv(reading, [seen])
            readable += seen.count(word) > 0
    del between
    return Residue(size, each, readable)
