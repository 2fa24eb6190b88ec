"""Reads a machine's description and makes the QEMU command line for it."""

import os
import platform
import shutil
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from qemu import medium
from qemu.errors import USAGE, QemuError

FOLDER = Path(__file__).parent / "machines"
FLASH_BYTES = 64 << 20  # both flash chips of the virt machine have exactly this size


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine, as `machines/<board>.toml` says.

    Args:
        binary: The QEMU program.
        package: The Debian package it is in.
        machine: QEMU's name of the board.
        oap_port: OAP inside the guest.
        admin_port: Admin plane inside the guest.
        devices: Disk, network and so on, as QEMU takes them.
        cpu: QEMU's name of the processor; empty leaves the board its own.
        smp: Number of processors; 0 leaves the board its own.
        memory_mib: Fixed memory of the board; 0 lets the caller choose.
        firmware: UEFI, the first file that exists; empty for boards started directly.
        variables: UEFI's variables, copied for each run.
        firmware_package: The Debian package both are in.
        serials: Serial ports in order: "log" is the console, "null" leads nowhere.
        is_counted: QEMU counts reads and writes of this kind of disk.
        direct: Boot files by role (kernel, initrd, dtb, cmdline), named as in the image.
    """

    binary: str
    package: str
    machine: str
    oap_port: int
    admin_port: int
    devices: list[str]
    cpu: str = ""
    smp: int = 0
    memory_mib: int = 0
    firmware: list[str] = field(default_factory=list)
    variables: list[str] = field(default_factory=list)
    firmware_package: str = ""
    serials: list[str] = field(default_factory=lambda: ["log"])
    is_counted: bool = True
    direct: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Extras:
    """What a test adds to a machine.

    Args:
        ram: The guest's memory is this file, shared: it can be read while the guest runs, and
            what the guest left in it stays when QEMU ends. Give it again for a start on old RAM.
        outside: What of the host the guest may reach, each as QEMU's user network takes it.
        flags: More of QEMU's flags, such as further disks.
    """

    ram: Path | None = None
    outside: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


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


def start_flags(machine: Machine, image: Path, folder: Path) -> list[str]:
    """How the machine gets going: firmware that looks at the disk, or boot files taken from it."""
    if machine.direct:
        paths = medium.extract(image, list(machine.direct.values()), folder)
        files = {role: paths[name] for role, name in machine.direct.items()}
        flags = ["-append", files.pop("cmdline").read_text().strip()]
        for role, path in files.items():
            flags += [f"-{role}", str(path)]
        return flags
    code, variables = prepare_flash(machine, folder)
    return [
        *("-drive", f"if=pflash,format=raw,readonly=on,file={code}"),
        *("-drive", f"if=pflash,format=raw,file={variables}"),
    ]


def processor_flags(machine: Machine) -> list[str]:
    """Hardware help where the host is of the same kind, else emulation."""
    can_help = platform.machine() == "aarch64" and os.access("/dev/kvm", os.W_OK)
    if can_help and machine.cpu:
        return ["-accel", "kvm", "-cpu", "host", "-smp", str(machine.smp)]
    flags = ["-accel", "tcg,thread=multi"]
    flags += ["-cpu", machine.cpu] if machine.cpu else []
    return flags + (["-smp", str(machine.smp)] if machine.smp else [])


def ram_flags(ram: Path | None, size_mib: int) -> list[str]:
    """Put the guest's memory into a file, or leave it to QEMU."""
    if ram is None:
        return []
    backend = f"memory-backend-file,id=ram,size={size_mib}M,mem-path={ram},share=on"
    return ["-object", backend, "-machine", "memory-backend=ram"]


def command(
    machine: Machine,
    image: Path,
    folder: Path,
    ports: Ports,
    *,
    memory_mib: int,
    extras: Extras,
) -> list[str]:
    """The QEMU command line that boots an image file.

    Args:
        machine: What to emulate.
        image: The disk, used as it is and writable (a board with an SD slot gets a padded copy).
        folder: For sockets, logs and the firmware's variables.
        ports: Where the guest's ports appear on loopback.
        memory_mib: Memory of the guest, where the board does not fix it.
        extras: What a test adds.
    """
    binary = shutil.which(machine.binary)
    if not binary:
        hint = f"apt-get install {machine.package}"
        raise QemuError(f"{machine.binary}: not found", hint=hint, code=USAGE)
    start = start_flags(machine, image, folder)
    disk = medium.padded_copy(image, folder) if machine.direct else image
    forwards = [
        f"hostfwd=tcp:127.0.0.1:{ports.oap}-:{machine.oap_port}",
        f"hostfwd=tcp:127.0.0.1:{ports.admin}-:{machine.admin_port}",
    ]
    size_mib = machine.memory_mib or memory_mib
    argv = [
        binary,
        *("-M", machine.machine, *processor_flags(machine)),
        *("-m", str(size_mib)),
        *ram_flags(extras.ram, size_mib),
        *start,
        *("-drive", f"if=none,format=raw,readonly=off,id=medium,file={disk}"),
        # restrict: the guest reaches nobody that is not named, only the forwarded ports reach it.
        *("-netdev", ",".join(["user,id=lan,restrict=on", *forwards, *extras.outside])),
        *machine.devices,
        *("-qmp", f"unix:{folder / 'qmp'},server=on,wait=off"),
        *("-display", "none", "-monitor", "none", "-no-reboot"),
        *extras.flags,
    ]
    for serial in machine.serials:
        argv += ["-serial", f"file:{folder / 'serial.log'}" if serial == "log" else serial]
    return argv
