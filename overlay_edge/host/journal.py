"""The journal: one JSON line on stderr for each thing worth telling an operator.

    {"ts": "...", "level": "WARN", "service": "svc-overlay", "event": "reject", ...}

Text of peers is data inside the JSON: escaped down to ASCII and cut. The same line again and
again is sampled: a few in each period, then one that tells how many were left out; counters
elsewhere keep counting. Debug lines are all written. Logs are never written to a disk from here.
"""

import json
import os
import select
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from overlay_edge.host.clock import monotonic, wall

if TYPE_CHECKING:
    import logging

SERVICE = "svc-overlay"
LEVELS = {  # as the config spells it, as operators search for it, and its weight
    "debug": ("DEBUG", 10),
    "info": ("INFO", 20),
    "warning": ("WARN", 30),
    "error": ("ERROR", 40),
}
MAX_TEXT = 200  # characters of one value
MAX_ITEMS = 32  # of one list or mapping
SAMPLE_LINES = 5  # warnings or errors of one kind in each period
SAMPLE_INFO_LINES = 50  # peers come and go; one that does so all day must not fill the log
SAMPLE_PERIOD_S = 10.0
MAX_KINDS = 64  # kinds of repeated lines told apart; a peer cannot make this grow

Sink = Callable[[bytes], object]
Tap = Callable[[dict[str, object]], None]


@dataclass(slots=True)
class _Sample:
    """How often one kind of line came in the running period."""

    began: float
    lines: int = 0
    left_out: int = 0


def write_stderr(line: bytes) -> bool:
    """Write a line, unless nobody takes it: a full pipe, or a console stopped with XOFF.

    Whoever reads the log must never be able to hold the node up. A pipe that is writable
    takes ``PIPE_BUF`` bytes without waiting, so a longer line goes out in pieces.

    Returns:
        False if the line, or the end of it, is lost.
    """
    poller = select.poll()
    poller.register(2, select.POLLOUT)
    try:
        for at in range(0, len(line), select.PIPE_BUF):
            if not poller.poll(0):
                return False
            os.write(2, line[at : at + select.PIPE_BUF])
    except OSError:
        return False
    return True


class Journal:
    """Writes the lines; the process has one, :data:`journal`.

    Args:
        level: Least important level that is written, as the config spells it.
        sink: Takes each line, newline included; returns False if it is lost.

    Attributes:
        suppressed_total: Lines left out because they repeat, or because nobody takes them.
    """

    def __init__(self, level: str = "info", sink: Sink = write_stderr) -> None:
        self.suppressed_total = 0
        self._threshold = LEVELS[level][1]
        self._sink = sink
        self._taps: list[Tap] = []
        self._samples: dict[tuple[str, str, str], _Sample] = {}

    @property
    def fds(self) -> tuple[int, ...]:
        """Descriptors of this process that lines end up in; none with a sink of one's own."""
        return (1, 2) if self._sink is write_stderr else ()  # libraries may print to the other

    @property
    def is_debug(self) -> bool:
        """True when debug lines are written."""
        return self._threshold <= LEVELS["debug"][1]

    def configure(self, level: str, *, sink: Sink | None = None) -> None:
        """Choose the level, and let the lines of libraries come here too."""
        import logging

        self._threshold = LEVELS[level][1]
        self._sink = sink or self._sink
        logging.basicConfig(
            level=max(self._threshold, logging.WARNING), handlers=[_bridge(self)], force=True
        )

    def watch(self, tap: Tap) -> Callable[[], None]:
        """Show every line that is written to ``tap``, too; the result ends that."""
        self._taps.append(tap)
        return lambda: self._taps.remove(tap) if tap in self._taps else None

    def debug(self, event: str, **fields: object) -> None:
        """Tell a detail that only a developer asks for."""
        self._write("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Tell what normally happens."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Tell what somebody should look at; ``reason`` tells repeated ones apart."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Tell what failed; ``reason`` tells repeated ones apart."""
        self._write("error", event, fields)

    def exception(self, event: str, exc: BaseException, **fields: object) -> None:
        """Tell of an exception in one line; its traceback only at debug level."""
        fields["error"] = f"{type(exc).__name__}: {exc}"
        if self.is_debug:
            from traceback import format_exception

            text = "".join(format_exception(exc))
            fields["traceback"] = text.splitlines()[-MAX_ITEMS:]
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, object]) -> None:
        name, weight = LEVELS[level]
        if weight < self._threshold:
            return
        if level != "debug":
            kind = (name, event, str(fields.get("reason", ""))[:MAX_TEXT])
            left_out = self._sampled(kind, SAMPLE_INFO_LINES if level == "info" else SAMPLE_LINES)
            if left_out is None:
                return
            if left_out:
                fields["left_out"] = left_out
        if "corr_id" in fields:  # operators search the journal for `corr_id=`
            fields["msg"] = f"{fields.get('msg', '')} corr_id={fields['corr_id']}".lstrip()
        now = datetime.fromtimestamp(wall(), UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "ts": now.replace("+00:00", "Z"),
            "level": name,
            "service": SERVICE,
            "event": event,
        }
        line |= {key: _bounded(value) for key, value in fields.items()}
        for tap in self._taps:
            tap(line)
        text = json.dumps(line, separators=(",", ":")).replace("\x7f", "\\u007f")
        if self._sink(text.encode() + b"\n") is False:
            self.suppressed_total += 1

    def _sampled(self, kind: tuple[str, str, str], limit: int) -> int | None:
        """How many like it were left out before this one; None to leave it out too."""
        now = monotonic()
        sample = self._samples.get(kind)
        if sample is None or now - sample.began >= SAMPLE_PERIOD_S:
            left_out = sample.left_out if sample else 0
            self._samples.pop(kind, None)  # moves to the end: the first is the oldest
            self._samples[kind] = _Sample(now, lines=1)
            if len(self._samples) > MAX_KINDS:
                del self._samples[next(iter(self._samples))]
            return left_out
        if sample.lines < limit:
            sample.lines += 1
            return 0
        sample.left_out += 1
        self.suppressed_total += 1
        return None


journal = Journal()


def _bounded(value: object, depth: int = 2) -> object:
    """The value as JSON may carry it, whoever made it up."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth and isinstance(value, dict):
        items = list(value.items())[:MAX_ITEMS]
        return {str(key)[:MAX_TEXT]: _bounded(item, depth - 1) for key, item in items}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [_bounded(item, depth - 1) for item in list(value)[:MAX_ITEMS]]
    text = str(value)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."


def _bridge(target: Journal) -> "logging.Handler":
    """A handler that turns the records of libraries (asyncio, aiohttp) into journal lines."""
    import logging

    class Bridge(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            fields: dict[str, object] = {"reason": record.name, "msg": record.getMessage()}
            exc = record.exc_info[1] if record.exc_info else None
            if exc is not None:
                target.exception("library", exc, **fields)
            elif record.levelno >= logging.ERROR:
                target.error("library", **fields)
            else:
                target.warning("library", **fields)

    return Bridge()
