"""The board: the class by its name, or a smaller one by its memory."""

from pathlib import Path

import pytest

from overlay_edge.config import DEFAULTS, PROFILES, apply_profile, parse
from overlay_edge.host.board import Machine, defaults_text, detect, profile_text, read_machine

MIB = 1 << 20

CPU_WITH_AES = "processor\t: 0\nFeatures\t: fp asimd evtstrm aes pmull sha1 crc32\n"
CPU_WITHOUT = "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\n"


@pytest.mark.parametrize(
    ("model", "mib", "name"),
    [
        ("Raspberry Pi Zero 2 W Rev 1.0", 416, "zero2w"),
        ("Raspberry Pi 3 Model B Plus Rev 1.3", 905, "pi3"),
        ("Raspberry Pi 3 Model A Plus Rev 1.0", 416, "zero2w"),
        ("Raspberry Pi Compute Module 3 Plus Rev 1.0", 905, "pi3"),
        ("Raspberry Pi 4 Model B Rev 1.1", 3792, "pi4"),
        ("Raspberry Pi 4 Model B Rev 1.1", 905, "pi3"),
        ("Raspberry Pi 400 Rev 1.0", 3792, "pi4"),
        ("Raspberry Pi Compute Module 4 Rev 1.0", 1848, "pi4"),
        ("Raspberry Pi 5 Model B Rev 1.0", 8052, "pi5"),
        ("Raspberry Pi 5 Model B Rev 1.0", 1010, "pi3"),
        ("Raspberry Pi 500 Rev 1.0", 8052, "pi5"),
        ("linux,dummy-virt", 240, "zero2w"),
        ("linux,dummy-virt", 985, "pi3"),
        ("linux,dummy-virt", 2000, "generic"),
        ("", 64_000, "generic"),
        ("", 0, "generic"),
        ("Raspberry Pi 3 Model B Rev 1.2", 0, "pi3"),
    ],
)
def test_a_board_gets_the_smaller_class_of_its_name_and_its_memory(
    model: str, mib: int, name: str
) -> None:
    assert detect(model, mib * MIB) == name


def fake_root(tmp_path: Path, cpu: str) -> Path:
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_bytes(b"Raspberry Pi Zero 2 W Rev 1.0\0")
    (tmp_path / "proc/meminfo").write_text("MemTotal:         426416 kB\nMemFree: 1 kB\n")
    (tmp_path / "proc/cpuinfo").write_text(cpu)
    return tmp_path


@pytest.mark.parametrize(
    ("cpu", "has_aes"),
    [
        (CPU_WITH_AES, True),
        (CPU_WITHOUT, False),
        ("flags\t\t: fpu sse2 aes avx\n", True),
        ("flags\t\t: fpu vaes\n", False),
    ],
)
def test_the_kernel_says_model_memory_and_cipher_instructions(
    tmp_path: Path, cpu: str, has_aes: bool
) -> None:
    machine = read_machine(fake_root(tmp_path, cpu))
    assert machine.model == "Raspberry Pi Zero 2 W Rev 1.0"
    assert machine.mem_bytes == 426_416 * 1024
    assert machine.has_aes is has_aes
    assert machine.cores >= 1


def test_a_kernel_that_says_nothing_is_no_error(tmp_path: Path) -> None:
    machine = read_machine(tmp_path)
    assert machine == Machine(model="", mem_bytes=0, has_aes=False, cores=machine.cores)


def test_this_machine_has_memory() -> None:
    assert read_machine().mem_bytes > 64 * MIB


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_is_in_the_package(name: str) -> None:
    apply_profile(DEFAULTS, profile_text(name))


def test_auto_is_no_profile() -> None:
    with pytest.raises(LookupError, match="expected one of generic"):
        profile_text("auto")


def test_the_manual_is_in_the_package() -> None:
    assert parse(defaults_text()) == DEFAULTS
