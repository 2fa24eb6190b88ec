"""A progress bar on stderr, for transfers that take long enough to wonder."""

import shutil
import sys
from typing import TextIO

from overlay_edge.ctl.output import size
from overlay_edge.host.clock import monotonic

QUIET_S = 0.3  # shorter transfers show nothing
STEP_S = 0.1
BAR = 24  # columns


class Progress:
    """Call it with the bytes done so far; use it as a context manager.

    Args:
        label: What is moving.
        total: Bytes in all.
        stream: Drawn on if it is a terminal.
    """

    def __init__(self, label: str, total: int, stream: TextIO | None = None) -> None:
        self._label = label
        self._total = total
        self._stream = sys.stderr if stream is None else stream
        self._began = monotonic()
        self._next = self._began + QUIET_S if self._stream.isatty() else float("inf")
        self._is_drawn = False

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_drawn:
            self._write("")

    def __call__(self, done: int) -> None:
        """Draw the bar if it is time."""
        now = monotonic()
        if now < self._next:
            return
        self._next = now + STEP_S
        share = min(1.0, done / self._total) if self._total else 1.0
        bar = ("#" * round(BAR * share)).ljust(BAR)
        rate = size(done / max(0.001, now - self._began))
        moved = f"{size(done)} of {size(self._total)}"
        self._write(f"{self._label} [{bar}] {share:4.0%} {moved}, {rate}/s")

    def _write(self, text: str) -> None:
        room = shutil.get_terminal_size().columns - 1
        self._stream.write(f"\r{text[:room]:<{room}}\r" if not text else f"\r{text[:room]:<{room}}")
        self._stream.flush()
        self._is_drawn = bool(text)
