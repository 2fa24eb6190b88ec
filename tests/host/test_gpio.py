"""GPIO: the structures as the kernel's header has them, and what events make of a button.

The real line is tried on a machine with one; here a pipe stands for it.
"""

import asyncio
import ctypes
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.host import gpio
from overlay_edge.host.gpio import Button, Line, is_pressed, pack_request, read_line, take_line


class Attribute(ctypes.Structure):
    """struct gpio_v2_line_attribute, its union as the debounce period."""

    _fields_ = [
        ("id", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
        ("debounce_period_us", ctypes.c_uint32),
        ("rest", ctypes.c_uint32),
    ]


class ConfigAttribute(ctypes.Structure):
    """struct gpio_v2_line_config_attribute."""

    _fields_ = [("attr", Attribute), ("mask", ctypes.c_uint64)]


class Config(ctypes.Structure):
    """struct gpio_v2_line_config."""

    _fields_ = [
        ("flags", ctypes.c_uint64),
        ("num_attrs", ctypes.c_uint32),
        ("padding", ctypes.c_uint32 * 5),
        ("attrs", ConfigAttribute * 10),
    ]


class Request(ctypes.Structure):
    """struct gpio_v2_line_request."""

    _fields_ = [
        ("offsets", ctypes.c_uint32 * 64),
        ("consumer", ctypes.c_char * 32),
        ("config", Config),
        ("num_lines", ctypes.c_uint32),
        ("event_buffer_size", ctypes.c_uint32),
        ("padding", ctypes.c_uint32 * 5),
        ("fd", ctypes.c_int32),
    ]


class Event(ctypes.Structure):
    """struct gpio_v2_line_event."""

    _fields_ = [
        ("timestamp_ns", ctypes.c_uint64),
        ("id", ctypes.c_uint32),
        ("offset", ctypes.c_uint32),
        ("seqno", ctypes.c_uint32),
        ("line_seqno", ctypes.c_uint32),
        ("padding", ctypes.c_uint32 * 6),
    ]


def event(edge: int) -> bytes:
    return bytes(Event(timestamp_ns=1 << 60, id=edge, offset=17, seqno=1, line_seqno=1))


def iowr(number: int, size: int) -> int:
    """_IOWR(0xB4, number, size) of linux/ioctl.h."""
    return 3 << 30 | size << 16 | 0xB4 << 8 | number


def test_the_structures_have_the_sizes_of_the_header() -> None:
    assert gpio.ATTRIBUTE.size == ctypes.sizeof(ConfigAttribute) == 24
    assert gpio.CONFIG.size == ctypes.sizeof(Config) == 272
    assert gpio.REQUEST.size == ctypes.sizeof(Request) == 592
    assert gpio.EVENT.size == ctypes.sizeof(Event) == 48
    assert iowr(0x07, 592) == gpio.GET_LINE == 0xC250B407
    assert iowr(0x0E, 16) == gpio.GET_VALUES


def test_a_request_says_what_the_header_means() -> None:
    low = Request.from_buffer_copy(pack_request(Line("gpiochip0", 17, is_low=True), debounce=True))
    assert list(low.offsets) == [17] + [0] * 63
    assert low.consumer == b"overlay-edge panic"
    assert (low.num_lines, low.fd, list(low.padding)) == (1, 0, [0] * 5)
    assert low.config.flags == 0x2 | 0x4 | 0x10 | 0x100  # active low, input, rising, pull-up
    assert (low.config.num_attrs, list(low.config.padding)) == (1, [0] * 5)
    first = low.config.attrs[0]
    assert (first.attr.id, first.attr.debounce_period_us, first.mask) == (3, 50_000, 1)
    assert bytes(low.config.attrs[1]) == bytes(24)
    high = Request.from_buffer_copy(
        pack_request(Line("gpiochip0", 0, is_low=False), debounce=False)
    )
    assert high.config.flags == 0x4 | 0x10 | 0x200  # input, rising, pull-down
    assert high.config.num_attrs == 0
    assert bytes(high.config.attrs) == bytes(240)


def test_a_line_is_read_from_its_setting() -> None:
    assert read_line("gpiochip0:17") == Line("gpiochip0", 17, is_low=False)
    assert read_line("gpiochip12:3:low") == Line("gpiochip12", 3, is_low=True)


def test_only_an_edge_to_active_is_a_press() -> None:
    assert is_pressed(event(1))
    assert is_pressed(event(2) + event(1))
    assert not is_pressed(event(2))
    assert not is_pressed(b"")
    assert not is_pressed(event(1)[:-1])


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_press_or_not(data: bytes) -> None:
    assert is_pressed(data) in (True, False)


def test_a_chip_that_is_not_there_is_an_error_and_so_is_a_file_that_is_none(ram_path: Path) -> None:
    line = Line("gpiochip0", 17, is_low=False)
    with pytest.raises(FileNotFoundError):
        take_line(line, ram_path)
    (ram_path / "gpiochip0").write_bytes(b"")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="ioctl"):
        take_line(line, ram_path)
    assert os.listdir("/proc/self/fd") == before


# -- the button ---------------------------------------------------------------------------


class Stage:
    """A button whose line is a pipe."""

    def __init__(self, *, debounced: bool = True) -> None:
        fd, self.line = os.pipe2(os.O_NONBLOCK)
        self.presses = 0
        self.gone: list[str] = []
        self.happened = asyncio.Event()
        self.button = Button(fd, debounced, self.press, self.lose)

    def press(self) -> None:
        self.presses += 1
        self.happened.set()

    def lose(self, reason: str) -> None:
        self.gone.append(reason)
        self.happened.set()

    async def wait(self) -> None:
        async with asyncio.timeout(10):
            await self.happened.wait()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    yield made
    made.button.close()
    os.close(made.line)


async def test_a_press_is_told_and_a_release_is_not(stage: Stage) -> None:
    os.write(stage.line, event(2) + event(1))
    await stage.wait()
    assert (stage.presses, stage.gone) == (1, [])


async def test_a_line_that_ends_is_told_once_and_given_back(stage: Stage) -> None:
    os.close(stage.line)
    stage.line = os.open(os.devnull, os.O_RDONLY)
    await stage.wait()
    assert stage.gone == ["the line has ended"]
    stage.button.close()


@pytest.mark.parametrize("level", [0, 1])
async def test_where_the_kernel_does_not_debounce_the_line_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch, level: int
) -> None:
    looked: list[int] = []

    def ioctl(fd: int, request: int, values: bytearray, mutate: bool) -> int:
        assert (request, mutate) == (gpio.GET_VALUES, True)
        values[:8] = level.to_bytes(8, "little")
        looked.append(fd)
        return 0

    monkeypatch.setattr(gpio.fcntl, "ioctl", ioctl)
    monkeypatch.setattr(gpio, "DEBOUNCE_S", 0.001)
    stage = Stage(debounced=False)
    for edge in (1, 2, 1):  # it bounces: still one press, or none
        os.write(stage.line, event(edge))
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        while not looked:  # noqa: ASYNC110 - nobody is told of a look
            await asyncio.sleep(0)
    assert (stage.presses, len(looked)) == (level, 1)
    stage.button.close()
    os.close(stage.line)
