"""Removal: is the medium that the machine has booted from still there?"""

import os
from pathlib import Path

BLOCK = Path("/sys/class/block")


def is_there(name: str, root: Path = BLOCK) -> bool:
    """Does the kernel have this block device? One look-up, no I/O on the device."""
    return os.path.lexists(root / name)
