"""GPIO: one input line of the kernel's character device, as a button.

The structures are those of ``linux/gpio.h``, version 2 of its ABI (Linux 5.10): the line is asked
for with its edges, and its descriptor then delivers one event for each.
"""

import asyncio
import fcntl
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

DEV = Path("/dev")
CONSUMER = b"overlay-edge panic"
DEBOUNCE_S = 0.05  # contacts bounce for some milliseconds; nobody presses for less
GET_LINE = 0xC250B407  # GPIO_V2_GET_LINE_IOCTL
GET_VALUES = 0xC010B40E  # GPIO_V2_LINE_GET_VALUES_IOCTL
ACTIVE_LOW, INPUT, RISING = 1 << 1, 1 << 2, 1 << 4  # flags of a line
PULL_UP, PULL_DOWN = 1 << 8, 1 << 9  # ignored where the chip has none
DEBOUNCE = 3  # GPIO_V2_LINE_ATTR_ID_DEBOUNCE
PRESSED = 1  # GPIO_V2_LINE_EVENT_RISING_EDGE: it has become active, whichever level that is
ATTRIBUTE = struct.Struct("=IIIIQ")  # id, padding, microseconds, padding, mask
MAX_ATTRIBUTES = 10
CONFIG = struct.Struct(f"=QI20x{MAX_ATTRIBUTES * ATTRIBUTE.size}s")  # flags, number, attributes
REQUEST = struct.Struct(f"=64I32s{CONFIG.size}sII20xi")  # offsets, who, config, lines, events, fd
EVENT = struct.Struct("=QIIII24x")  # nanoseconds, edge, offset, two counters
VALUES = struct.Struct("=QQ")  # bits, mask
READ_EVENTS = 16


class Line(NamedTuple):
    """Which line, and is it pressed when it is low?"""

    chip: str
    offset: int
    is_low: bool


def read_line(text: str) -> Line:
    """The line of a checked setting: ``gpiochip0:17`` or ``gpiochip0:17:low``."""
    chip, offset, *low = text.split(":")
    return Line(chip, int(offset), bool(low))


def pack_request(line: Line, *, debounce: bool) -> bytearray:
    """What the kernel is asked for; it writes the line's descriptor to the end."""
    # A line that nothing is connected to must not float into a press.
    flags = INPUT | RISING | (ACTIVE_LOW | PULL_UP if line.is_low else PULL_DOWN)
    attribute = ATTRIBUTE.pack(DEBOUNCE, 0, int(1e6 * DEBOUNCE_S), 0, 1) if debounce else b""
    config = CONFIG.pack(flags, int(debounce), attribute)
    return bytearray(REQUEST.pack(line.offset, *[0] * 63, CONSUMER, config, 1, READ_EVENTS, 0))


def is_pressed(events: bytes) -> bool:
    """Is one of these events a press? What is not whole is none."""
    whole = len(events) // EVENT.size * EVENT.size
    return any(event[1] == PRESSED for event in EVENT.iter_unpack(events[:whole]))


def take_line(line: Line, dev: Path = DEV) -> tuple[int, bool]:
    """Take the line.

    Returns:
        Its descriptor, and does the kernel debounce it?

    Raises:
        OSError: It cannot be had.
    """
    chip = os.open(dev / line.chip, os.O_RDWR | os.O_CLOEXEC)
    try:
        try:
            return _take(chip, pack_request(line, debounce=True)), True
        except OSError:  # maybe for the debouncing; if not, it fails again
            return _take(chip, pack_request(line, debounce=False)), False
    finally:
        os.close(chip)


def _take(chip: int, request: bytearray) -> int:
    fcntl.ioctl(chip, GET_LINE, request, True)
    fd: int = REQUEST.unpack(request)[-1]
    os.set_blocking(fd, False)
    return fd


class Button:
    """A line that was taken; the loop watches it until it is closed.

    Args:
        fd: Of the line, owned from now on.
        debounced: The kernel debounces it; else a press is looked at again after its time.
        on_press: Called for each press.
        on_gone: Called once, with the reason, when the line is lost.
    """

    def __init__(
        self,
        fd: int,
        debounced: bool,
        on_press: Callable[[], None],
        on_gone: Callable[[str], None],
    ) -> None:
        self._fd = fd
        self._debounced = debounced
        self._on_press = on_press
        self._on_gone = on_gone
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._loop.add_reader(fd, self._read)

    def close(self) -> None:
        """Give the line back; idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._loop.remove_reader(fd)
            os.close(fd)

    def _read(self) -> None:
        try:
            events = os.read(self._fd, READ_EVENTS * EVENT.size)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error.strerror or str(error))
            return
        if not events:
            self._lose("the line has ended")
        elif not is_pressed(events) or self._timer is not None:
            return
        elif self._debounced:
            self._on_press()
        else:
            self._timer = self._loop.call_later(DEBOUNCE_S, self._look)

    def _look(self) -> None:
        self._timer = None
        values = bytearray(VALUES.pack(0, 1))
        with suppress(OSError):  # a line that is lost says so at the next read
            fcntl.ioctl(self._fd, GET_VALUES, values, True)
            if VALUES.unpack(values)[0] & 1:
                self._on_press()

    def _lose(self, reason: str) -> None:
        self.close()
        self._on_gone(reason)
