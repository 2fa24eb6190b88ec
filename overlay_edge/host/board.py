"""Which machine this is, and the caps that go with it.

The class is the board's by name, or a smaller one if the memory says so: a Pi 4 with 1 GiB
gets the caps of a Pi 3, and a virtual machine of 256 MiB those of a Zero 2 W.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from overlay_edge.config import PROFILES

MIB = 1 << 20
# Total memory as Linux shows it is 5 to 15 % below the size on the box: firmware and kernel
# take theirs first. Hence limits well under the nominal 1 GiB and 2 GiB.
SMALL, MEDIUM = 700 * MIB, 1536 * MIB
NAMES = (
    (re.compile(r"Raspberry Pi (Zero|[12] )"), "zero2w"),
    (re.compile(r"Raspberry Pi (Compute Module )?3"), "pi3"),
    (re.compile(r"Raspberry Pi (Compute Module )?4"), "pi4"),  # 4, 400, CM4
    (re.compile(r"Raspberry Pi (Compute Module )?5"), "pi5"),  # 5, 500, CM5
)
BY_SIZE = ("zero2w", "pi3", "pi4", "pi5", "generic")  # least caps first
PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found out; a model of "" and a memory of 0 mean unknown."""

    model: str
    mem_bytes: int
    has_aes: bool  # AES instructions: without them ChaCha20 is the faster cipher
    cores: int


def detect(model: str, mem_bytes: int) -> str:
    """The name of the profile for a board; unknown memory (0) leaves it to the model."""
    named = next((name for pattern, name in NAMES if pattern.match(model)), "generic")
    if not mem_bytes or mem_bytes >= MEDIUM:
        return named
    fitting = "zero2w" if mem_bytes < SMALL else "pi3"
    return min(named, fitting, key=BY_SIZE.index)


def read_machine(root: Path = Path("/")) -> Machine:
    """Ask the kernel; what it does not say is unknown, never an error."""
    meminfo = _read(root / "proc/meminfo")
    cpuinfo = _read(root / "proc/cpuinfo")
    total = re.search(r"^MemTotal:\s+(\d+) kB", meminfo, re.MULTILINE)
    features = re.search(r"^(?:Features|flags)\s*:(.*)$", cpuinfo, re.MULTILINE)
    return Machine(
        model=_read(root / "proc/device-tree/model").rstrip("\0\n"),
        mem_bytes=int(total[1]) * 1024 if total else 0,
        has_aes=features is not None and "aes" in features[1].split(),
        cores=len(os.sched_getaffinity(0)),
    )


def profile_text(name: str) -> str:
    """The TOML of a profile in the package.

    Args:
        name: One of ``config.PROFILES``; ``auto`` must have been resolved by ``detect``.
    """
    if name not in PROFILES:
        raise LookupError(f"profile {name!r}, expected one of {', '.join(PROFILES)}")
    return (PACKAGE / "profiles" / f"{name}.toml").read_text()


def defaults_text() -> str:
    """The manual: every key with its default, range and reason."""
    return (PACKAGE / "default.toml").read_text()


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""
