"""What the memory of another process has in it: counted from outside, as root or its parent can."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

PIECE = 16 << 20


def count(pid: int, patterns: Mapping[str, bytes]) -> dict[str, int]:
    """How often each pattern is in the memory of a process, by name.

    Raises:
        OSError: This process may not look.
    """
    found = dict.fromkeys(patterns, 0)
    most = max(map(len, patterns.values()), default=0)
    fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        for piece, overlap in _pieces(fd, pid, most - 1):
            for name, pattern in patterns.items():
                # What lies in the overlap alone was counted with the piece before.
                skip = max(0, overlap - len(pattern) + 1)
                found[name] += piece.count(pattern, skip)
    finally:
        os.close(fd)
    return found


def _pieces(fd: int, pid: int, overlap: int) -> Iterator[tuple[bytes, int]]:
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, rights, *_ = line.split()
        if "r" not in rights or line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
            continue
        at, end = (int(number, 16) for number in span.split("-"))
        carried = b""
        while at < end:
            try:
                data = os.pread(fd, min(PIECE, end - at), at)
            except OSError:  # a page of a device, or unmapped meanwhile
                break
            if not data:
                break
            yield carried + data, len(carried)
            carried = data[-overlap:] if overlap else b""
            at += len(data)
