"""The progress bar: only on a terminal, only when it takes long, gone at the end."""

import io

import pytest

from overlay_edge.ctl import progress as room
from overlay_edge.ctl.progress import Progress


class Screen(io.StringIO):
    """What is drawn; a terminal, or not."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.fixture
def hand_clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(room, "monotonic", lambda: now[0])
    monkeypatch.setenv("COLUMNS", "80")
    return now


def test_a_long_transfer_is_drawn_and_wiped(hand_clock: list[float]) -> None:
    screen = Screen(True)
    with Progress("put x", 4 << 20, screen) as progress:
        hand_clock[0] = 0.5
        progress(1 << 20)
        drawn = screen.getvalue()
        hand_clock[0] = 0.55
        progress(2 << 20)
        assert screen.getvalue() == drawn  # not more often than people can see
    bar = "put x [######                  ]  25% 1.0 MiB of 4.0 MiB, 2.0 MiB/s"
    assert drawn.rstrip() == f"\r{bar}".rstrip()
    assert screen.getvalue().endswith("\r" + " " * 79 + "\r")


def test_a_short_transfer_shows_nothing(hand_clock: list[float]) -> None:
    screen = Screen(True)
    with Progress("put x", 100, screen) as progress:
        hand_clock[0] = 0.2
        progress(100)
    assert screen.getvalue() == ""


def test_what_is_no_terminal_stays_clean(hand_clock: list[float]) -> None:
    screen = Screen(False)
    with Progress("put x", 0, screen) as progress:
        hand_clock[0] = 9.0
        progress(100)
    assert screen.getvalue() == ""


def test_a_narrow_terminal_gets_one_line(
    hand_clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    screen = Screen(True)
    with Progress("put a-long-name", 100, screen) as progress:
        hand_clock[0] = 1.0
        progress(50)
        assert len(screen.getvalue()) == 20
