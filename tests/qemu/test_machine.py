from pathlib import Path

import pytest

from qemu import machine
from qemu.errors import USAGE, QemuError
from qemu.machine import Machine, Ports


@pytest.fixture
def virt(tmp_path: Path) -> Machine:
    """The real description, with stand-ins for the program and its firmware."""
    found = machine.load("virt")
    (tmp_path / "qemu").touch(mode=0o755)
    (tmp_path / "code.fd").write_bytes(b"firmware")
    (tmp_path / "vars.fd").write_bytes(b"variables")
    fields = {name: getattr(found, name) for name in Machine.__dataclass_fields__}
    fields |= {"binary": str(tmp_path / "qemu"), "variables": [str(tmp_path / "vars.fd")]}
    return Machine(**(fields | {"firmware": ["/nowhere", str(tmp_path / "code.fd")]}))


def line(virt: Machine, folder: Path) -> list[str]:
    run = folder / "run"
    run.mkdir()
    return machine.command(virt, Path("edge.img"), run, Ports(1111, 2222), memory_mib=256)


def test_the_guest_reaches_nobody_and_is_reached_on_loopback_alone(
    virt: Machine, tmp_path: Path
) -> None:
    (network,) = [word for word in line(virt, tmp_path) if word.startswith("user,")]
    assert "restrict=on" in network.split(",")
    assert "hostfwd=tcp:127.0.0.1:1111-:9444" in network
    assert "hostfwd=tcp:127.0.0.1:2222-:9600" in network


def test_the_disk_is_writable_so_that_no_writes_mean_something(
    virt: Machine, tmp_path: Path
) -> None:
    (drive,) = [word for word in line(virt, tmp_path) if word.endswith("file=edge.img")]
    assert "readonly=off" in drive
    assert "snapshot" not in " ".join(line(virt, tmp_path / "run"))


def test_firmware_starts_the_image_not_qemu(virt: Machine, tmp_path: Path) -> None:
    argv = line(virt, tmp_path)
    assert "-kernel" not in argv
    assert sum("if=pflash" in word for word in argv) == 2


def test_firmware_of_another_size_is_padded_to_the_chip(virt: Machine, tmp_path: Path) -> None:
    code, variables = machine.prepare_flash(virt, tmp_path)
    assert code.stat().st_size == machine.FLASH_BYTES
    assert code.read_bytes()[:8] == b"firmware"
    assert variables.read_bytes().startswith(b"variables")


def test_missing_firmware_names_its_package() -> None:
    with pytest.raises(QemuError) as caught:
        machine.first_of(["/nowhere"], "qemu-efi-aarch64")
    assert "apt-get install qemu-efi-aarch64" in caught.value.hint
    assert caught.value.code == USAGE


def test_an_unknown_board_hears_of_the_known_ones() -> None:
    with pytest.raises(QemuError, match="virt"):
        machine.load("toaster")
