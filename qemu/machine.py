"""Reads a machine's description and makes the QEMU command line for it."""

import os
import platform
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

from qemu.errors import USAGE, QemuError

FOLDER = Path(__file__).parent / "machines"
FLASH_BYTES = 64 << 20  # both flash chips of the virt machine have exactly this size


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine, as `machines/<board>.toml` says."""

    binary: str
    package: str
    machine: str
    cpu: str
    smp: int
    firmware: list[str]
    variables: list[str]
    firmware_package: str
    oap_port: int
    admin_port: int
    devices: list[str]


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports of the host that lead into the guest."""

    oap: int
    admin: int


def load(board: str) -> Machine:
    """Read the description of a machine."""
    path = FOLDER / f"{board}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.toml")))
        raise QemuError(f"board {board!r}: no machine, expected one of {known}", code=USAGE)
    return Machine(**tomllib.loads(path.read_text()))


def first_of(paths: list[str], package: str) -> Path:
    """The first existing file; the error names the package that brings one."""
    for path in paths:
        if Path(path).is_file():
            return Path(path)
    raise QemuError(f"{paths[0]}: not found", hint=f"apt-get install {package}", code=USAGE)


def prepare_flash(machine: Machine, folder: Path) -> tuple[Path, Path]:
    """Firmware and a fresh copy of its variables, both as large as the chips they stand for."""
    code = first_of(machine.firmware, machine.firmware_package)
    if code.stat().st_size != FLASH_BYTES:
        padded = folder / "firmware.fd"
        shutil.copyfile(code, padded)
        os.truncate(padded, FLASH_BYTES)
        code = padded
    variables = folder / "variables.fd"
    shutil.copyfile(first_of(machine.variables, machine.firmware_package), variables)
    return code, variables


def command(
    machine: Machine, image: Path, folder: Path, ports: Ports, *, memory_mib: int
) -> list[str]:
    """The QEMU command line that boots an image file through firmware.

    Args:
        machine: What to emulate.
        image: The disk, used as it is and writable.
        folder: For sockets, logs and the firmware's variables.
        ports: Where the guest's ports appear on loopback.
        memory_mib: Memory of the guest.
    """
    binary = shutil.which(machine.binary)
    if not binary:
        hint = f"apt-get install {machine.package}"
        raise QemuError(f"{machine.binary}: not found", hint=hint, code=USAGE)
    code, variables = prepare_flash(machine, folder)
    native = platform.machine() == "aarch64" and os.access("/dev/kvm", os.W_OK)
    speed = ["-accel", "kvm", "-cpu", "host"] if native else []
    speed = speed or ["-accel", "tcg,thread=multi", "-cpu", machine.cpu]
    forwards = [
        f"hostfwd=tcp:127.0.0.1:{ports.oap}-:{machine.oap_port}",
        f"hostfwd=tcp:127.0.0.1:{ports.admin}-:{machine.admin_port}",
    ]
    return [
        binary,
        *("-M", machine.machine, *speed, "-smp", str(machine.smp), "-m", str(memory_mib)),
        *("-drive", f"if=pflash,format=raw,readonly=on,file={code}"),
        *("-drive", f"if=pflash,format=raw,file={variables}"),
        *("-drive", f"if=none,format=raw,readonly=off,id=medium,file={image}"),
        # restrict: the guest reaches nobody, only the forwarded ports reach the guest.
        *("-netdev", ",".join(["user,id=lan,restrict=on", *forwards])),
        *machine.devices,
        *("-serial", f"file:{folder / 'serial.log'}"),
        *("-qmp", f"unix:{folder / 'qmp'},server=on,wait=off"),
        *("-display", "none", "-monitor", "none", "-no-reboot"),
    ]
