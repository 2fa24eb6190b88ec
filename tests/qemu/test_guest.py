import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from qemu import machine
from qemu.errors import NO_GUEST, USAGE, QemuError
from qemu.guest import Guest

Stand = Callable[[str], Guest]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    """A guest whose QEMU is a shell script; `$S` is its serial log."""
    image = tmp_path / "edge.img"
    image.touch()

    def make(script: str) -> Guest:
        program = tmp_path / "qemu"

        def command(*args: object, **kwargs: object) -> list[str]:
            serial = f"{args[2]}/serial.log"
            program.write_text(f"#!/bin/sh\nS={serial}\n{script}\n")
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
            return [str(program)]

        monkeypatch.setattr(machine, "command", command)
        return Guest("virt", image)

    return make


def test_a_missing_image_hints_at_the_build(tmp_path: Path) -> None:
    with pytest.raises(QemuError) as caught:
        Guest("virt", tmp_path / "none.img")
    assert "image build" in caught.value.hint
    assert caught.value.code == USAGE


def test_a_qemu_that_ends_is_noticed_at_once_with_its_words(stand_in: Stand) -> None:
    with stand_in("echo could not open it >&2; exit 1") as guest:
        with pytest.raises(QemuError, match="QEMU ended: could not open it") as caught:
            guest.wait_ready(limit_s=30)
        assert guest.uptime_s() < 20
    assert caught.value.code == NO_GUEST


def test_too_little_memory_is_told_by_the_console(stand_in: Stand) -> None:
    script = "echo 'Initramfs unpacking failed: write error' >$S; exec sleep 60"
    with stand_in(script) as guest, pytest.raises(QemuError, match="512 MiB are too little"):
        guest.wait_console("never", limit_s=30)


def test_a_guest_that_never_answers_shows_the_end_of_its_console(stand_in: Stand) -> None:
    with stand_in("echo last words >$S; exec sleep 60") as guest:
        guest.wait_console("last words", limit_s=30)
        with pytest.raises(QemuError) as caught:
            guest.wait_ready(limit_s=guest.uptime_s() + 0.1)
    assert "last words" in caught.value.hint


def test_nothing_is_left_behind(stand_in: Stand) -> None:
    with stand_in("exec sleep 60") as guest:
        assert guest.is_running()
    assert not guest.is_running()
