"""`ronctl panic`: nobody wipes a node by mistake."""

import os

import pytest

from overlay_edge.ctl.main import main
from tests.ctl.conftest import Ronctl
from tests.support.controlled import controlled


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, typed: str, *argv: str) -> int:
    """Call it with a real terminal for standard input."""
    master, slave = os.openpty()
    os.write(master, typed.encode())
    with os.fdopen(slave) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        try:
            return main(["panic", *argv])
        finally:
            os.close(master)


def test_who_types_the_word_means_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with controlled() as node:
        assert at_a_terminal(monkeypatch, "wipe\n", "--admin", node.address) == 0
    assert node.controls.done == [("panic",), ("vanish",)]
    out, err = capsys.readouterr()
    assert out == "3 objects and 1 upload wiped, 4.0 KiB; 2 sessions ended\n"
    assert f"everything on {node.address} will be lost" in err


@pytest.mark.parametrize("typed", ["yes\n", "\n", "\x04"])
def test_anything_else_does_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: str
) -> None:
    with controlled() as node:
        assert at_a_terminal(monkeypatch, typed, "--admin", node.address) == 1
    assert node.controls.done == []
    assert "nothing was done" in capsys.readouterr().err


def test_a_script_has_to_say_that_it_means_it(ronctl: Ronctl) -> None:
    with controlled() as node:
        asked = ronctl("panic", "--admin", node.address, stdin=b"wipe\n")
        said = ronctl("--json", "panic", "--admin", node.address, "--yes")
    assert (asked.code, "--yes" in asked.err) == (2, True)
    assert said.json == {"objects": 3, "uploads": 1, "bytes": 4096, "sessions": 2}
    assert node.controls.done == [("panic",), ("vanish",)]
