"""Pressure: how far this machine and this process are from their limits, asked of the kernel.

Whoever has a timer calls ``beat`` at each turn of it; nothing here waits, and no call takes
longer than a few reads from /proc.
"""

import errno
import math
import os
import resource
from collections import deque
from pathlib import Path
from typing import NamedTuple

SAMPLE_S = 0.25  # how often the caller means to beat
WINDOW = 20  # beats looked back on: 5 s
LAG_LIMIT_S = 0.25  # a loop that is this late makes every peer wait; guess
STALL_LIMIT = 0.4  # share of ten seconds that somebody waited for memory; guess
PROC = Path("/proc")


class Reading(NamedTuple):
    """How full something is: ``value`` of ``limit``, in the same unit."""

    name: str
    value: float
    limit: float


class LagProbe:
    """How late the event loop is: a timer that should have come back, and when it did.

    Args:
        period_s: What the caller sleeps between two beats.
        window: Beats remembered.
    """

    def __init__(self, period_s: float = SAMPLE_S, window: int = WINDOW) -> None:
        self._period_s = period_s
        self._lags: deque[float] = deque(maxlen=window)
        self._last: float | None = None

    def beat(self, *, now: float) -> None:
        """Say that the timer came back; the first call only starts the clock."""
        if self._last is not None:
            self._lags.append(max(0.0, now - self._last - self._period_s))
        self._last = now

    @property
    def p95_s(self) -> float:
        """What 95 of 100 beats were not later than: one hiccup in a window is forgiven."""
        return percentile(self._lags, 0.95)


class Pressure:
    """All that is looked at four times a second.

    Args:
        memory_bytes: What the process may hold in RAM, without what is kept in memory files.
        fds: Descriptors it may have open; 0 asks the kernel, which may know no limit.
        period_s: What the caller sleeps between two beats.
        proc: Where the kernel shows itself.
    """

    def __init__(
        self,
        *,
        memory_bytes: int,
        fds: int = 0,
        period_s: float = SAMPLE_S,
        proc: Path = PROC,
    ) -> None:
        self._memory_bytes = memory_bytes
        self._fds = fds or resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._proc = proc
        self.lag = LagProbe(period_s)

    def beat(self, *, now: float) -> list[Reading]:
        """Look at everything; what this kernel does not tell is left out."""
        self.lag.beat(now=now)
        found = [Reading("loop_lag", self.lag.p95_s, LAG_LIMIT_S)]
        if (held := resident_bytes(self._proc)) is not None:
            found.append(Reading("memory", held, self._memory_bytes))
        if (stall := memory_stall(self._proc)) is not None:
            found.append(Reading("memory_stall", stall, STALL_LIMIT))
        opened = open_fds(self._proc, most=self._fds)
        if opened is not None and self._fds > 0:
            found.append(Reading("fds", opened, self._fds))
        return found


def resident_bytes(proc: Path = PROC) -> int | None:
    """RAM that this process holds; memory files that it has not mapped are not in it."""
    fields = _read(proc / "self/statm").split()
    if len(fields) < 2 or not fields[1].isdigit():
        return None
    return int(fields[1]) * resource.getpagesize()


def memory_stall(proc: Path = PROC) -> float | None:
    """Share of the last ten seconds in which some task waited for memory."""
    for line in _read(proc / "pressure/memory").splitlines():
        kind, *fields = line.split()
        if kind != "some":
            continue
        for field in fields:
            name, _, percent = field.partition("=")
            if name == "avg10":
                return _share(percent)
    return None


def open_fds(proc: Path = PROC, *, most: int) -> int | None:
    """Descriptors that this process has open; at ``most`` even counting needs one too many."""
    folder = proc / "self/fd"
    try:
        # Since Linux 6.2 the size is the count, which costs nothing; before, it was 0.
        return os.stat(folder).st_size or len(os.listdir(folder))
    except OSError as error:
        return most if error.errno in {errno.EMFILE, errno.ENFILE} else None


def percentile(values: "deque[float] | list[float]", share: float) -> float:
    """The nearest rank, but never the largest of several: one outlier is no trend."""
    ordered = sorted(values)
    if len(ordered) < 2:
        return 0.0
    rank = min(math.ceil(share * len(ordered)), len(ordered) - 1)
    return ordered[max(0, rank - 1)]


def _share(percent: str) -> float | None:
    try:
        share = float(percent) / 100
    except ValueError:
        return None
    return share if 0.0 <= share <= 1.0 else None


def _read(path: Path) -> str:
    """A page of the kernel's, or nothing: not every kernel has every page."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
