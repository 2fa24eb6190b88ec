"""Boots the real image through firmware; each test is one boot of about 15 s."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from image import fat
from qemu import machine, owner, ronctl, selftest
from qemu.errors import QemuError
from qemu.guest import Guest
from qemu.report import Report

PROJECT = Path(__file__).parents[2]


def why_not() -> str:
    """What this machine lacks, or empty."""
    for tool in (
        "qemu-system-aarch64",
        "apt-get",
        "dpkg-deb",
        "mcopy",
        "zstd",
        "aarch64-linux-gnu-strip",
    ):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    try:
        virt = machine.load("virt")
        machine.first_of(virt.firmware, virt.firmware_package)
        ronctl.find()
    except QemuError as exc:
        return f"{exc} ({exc.hint})"
    return ""


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]


@pytest.fixture(scope="module")
def built() -> Path:
    subprocess.run([sys.executable, "-m", "image", "build", "--fast"], check=True, cwd=PROJECT)
    return PROJECT / "build/overlay-edge-virt.img"


@pytest.fixture
def image(built: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of its own for each boot; QEMU takes a lock on the file it uses."""
    copy = tmp_path / "edge.img"
    shutil.copyfile(built, copy)
    yield copy
    copy.unlink()


def with_site(image: Path, text: str) -> Path:
    site = image.with_name("site.toml")
    site.write_text(text)
    fat.copy_in(image, site, "overlay-edge.toml")
    return image


def owned_guest(image: Path, folder: Path, memory_mib: int = 512) -> Guest:
    """A guest that belongs to somebody, and the capability to write to it."""
    owned = owner.own(image, folder)
    guest = Guest("virt", owned.image, memory_mib=memory_mib)
    guest.cap = owned.cap
    return guest


@pytest.mark.parametrize("memory_mib", [512, 256])
def test_a_file_travels_through_the_guest_and_the_medium_stays_untouched(
    image: Path, tmp_path: Path, memory_mib: int
) -> None:
    (tmp_path / "own").mkdir()
    guest, report = owned_guest(image, tmp_path / "own", memory_mib), Report()
    selftest.run(guest, tmp_path / "own" / image.name, tmp_path, report)
    assert report.is_ok, report.summary()


def test_a_board_without_a_sites_key_can_be_read_and_not_written(
    image: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"not for strangers")
    with Guest("virt", image) as guest:
        answer = guest.wait_ready()
        assert answer.json()["missing"] == ["auth"]
        with pytest.raises(QemuError, match="unauth"):
            ronctl.put(guest, tmp_path / "file")
        assert "b3:" in ronctl.call(guest, "echo", "b3:hello")[0]


@pytest.mark.parametrize("board", ["virt", "virt-usb", "raspi3b"])
def test_a_site_file_is_obeyed_from_disk_stick_and_card(image: Path, board: str) -> None:
    with_site(image, '[store]\nttl = "7m"\n[oap]\npq_mode = "classical"\n')
    with Guest(board, image) as guest:
        guest.wait_ready()
        assert "pq classical" in guest.get("/status", timeout_s=5.0).body
        guest.cut_power()
        assert guest.is_medium_untouched()


def test_a_board_that_cannot_find_its_medium_says_so_and_serves(image: Path) -> None:
    with image.open("r+b") as file:
        file.seek(fat.PARTITION_START * 512 + 67)  # the volume id: it is another medium now
        file.write(b"\x01\x02\x03\x04")
    with Guest("virt", image) as guest:
        guest.wait_ready()
        guest.wait_console("not found; using defaults")


def test_a_mistake_in_the_site_file_shows_by_name_on_a_board_that_still_serves(
    image: Path,
) -> None:
    with_site(image, "[peer]\ninflight_frames = 0\n")
    mistake = "peer.inflight_frames: 0, expected 1 to 1024"
    with Guest("virt", image) as guest:
        guest.wait_console(mistake)
        answer = guest.wait_answer(status=503)
        while "config" not in answer.json()["missing"] or "admin" in answer.json()["missing"]:
            answer = guest.wait_answer(status=503)
        assert mistake in answer.json()["reasons"]["config"]
        assert "still reachable" in ronctl.call(guest, "echo", "still reachable")[0]
        with guest.qmp() as qmp:  # reading the site file must not have written anything either
            assert qmp.disk_counters()["wr_operations"] == 0
