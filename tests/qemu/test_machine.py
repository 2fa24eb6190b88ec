from pathlib import Path

import pytest

from qemu import machine, medium
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


def line(
    virt: Machine,
    folder: Path,
    extras: machine.Extras = machine.Extras(),  # noqa: B008
) -> list[str]:
    run = folder / "run"
    run.mkdir()
    return machine.command(
        virt,
        Path("edge.img"),
        run,
        Ports(1111, 2222),
        memory_mib=256,
        extras=extras,
    )


def test_the_guest_reaches_nobody_and_is_reached_on_loopback_alone(
    virt: Machine, tmp_path: Path
) -> None:
    (network,) = [word for word in line(virt, tmp_path) if word.startswith("user,")]
    assert "restrict=on" in network.split(",")
    assert "hostfwd=tcp:127.0.0.1:1111-:9444" in network
    assert "hostfwd=tcp:127.0.0.1:2222-:9600" in network


def test_memory_may_be_a_file_that_outlives_qemu(virt: Machine, tmp_path: Path) -> None:
    argv = line(virt, tmp_path)
    assert not [word for word in argv if "memory-backend" in word]
    (tmp_path / "other").mkdir()
    extras = machine.Extras(tmp_path / "ram", flags=("-no-shutdown",))
    argv = line(virt, tmp_path / "other", extras)
    assert "-no-reboot" in argv  # a reset ends QEMU, and the file has what it left
    assert "-no-shutdown" in argv
    (backend,) = [word for word in argv if word.startswith("memory-backend-file,")]
    assert {"size=256M", f"mem-path={tmp_path / 'ram'}", "share=on"} <= set(backend.split(","))


def test_only_what_is_named_of_the_host_is_reached(virt: Machine, tmp_path: Path) -> None:
    way = "guestfwd=tcp:10.0.2.100:8883-tcp:127.0.0.1:8883"
    argv = line(virt, tmp_path, machine.Extras(outside=(way,)))
    (network,) = [word for word in argv if word.startswith("user,")]
    assert network.split(",")[-1] == way


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


def disk(path: Path, *, start: int = 2048) -> Path:
    sector = bytearray(512)
    sector[454:458] = start.to_bytes(4, "little")
    sector[510:] = b"\x55\xaa"
    path.write_bytes(bytes(sector) + bytes(1000))
    return path


def test_the_partition_is_found_through_the_boot_sector(tmp_path: Path) -> None:
    assert medium.partition_offset(disk(tmp_path / "edge.img", start=4096)) == 4096 * 512


def test_what_is_no_disk_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "edge.img").write_bytes(bytes(512))
    with pytest.raises(QemuError, match="no boot sector"):
        medium.partition_offset(tmp_path / "edge.img")


def test_a_card_has_a_power_of_two_and_the_same_beginning(tmp_path: Path) -> None:
    image = disk(tmp_path / "edge.img")
    card = medium.padded_copy(image, tmp_path)
    assert card.stat().st_size == 2048
    assert card.read_bytes().startswith(image.read_bytes())


@pytest.mark.parametrize("at", [100, 1600, 2047])
def test_a_single_byte_written_to_a_card_is_noticed(tmp_path: Path, at: int) -> None:
    image = disk(tmp_path / "edge.img")
    card = medium.padded_copy(image, tmp_path)
    assert medium.is_untouched(card, image)
    with card.open("r+b") as file:
        file.seek(at)
        file.write(b"x")
    assert not medium.is_untouched(card, image)


def test_every_machine_describes_itself_completely() -> None:
    for path in machine.FOLDER.glob("*.toml"):
        found = machine.load(path.stem)
        assert found.direct or (found.firmware and found.variables)
        assert "log" in found.serials
