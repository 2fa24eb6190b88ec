"""Text from outside cannot move the cursor, clear the screen or turn the line around."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.errors import ConfigError, TransportError
from overlay_edge.host.terminal import explain, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 字", "plain ü 字"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("two\nlines\r", r"two\x0alines\x0d"),
        ("\x9b31m", r"\x9b31m"),
        ("file\u202egnp.exe", r"file\u{202e}gnp.exe"),
    ],
)
def test_what_would_steer_a_terminal_is_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(max_size=50), st.integers(3, 60))
def test_the_result_always_prints_and_fits(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit


def test_an_error_is_one_line_for_each_mistake_and_its_hint() -> None:
    error = ConfigError(["a.b: 0, expected 1", "c: unknown key"], hint="see\x1b[0m d")
    assert explain(error) == [
        "error: a.b: 0, expected 1",
        "error: c: unknown key",
        r"hint: see\x1b[0m d",
    ]
    assert explain(TransportError("gone\n")) == [r"error: gone\x0a"]
