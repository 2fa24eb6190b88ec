"""The machine that tests run on: it may have swap, which a node that promises amnesia refuses."""

import os
from pathlib import Path

from overlay_edge.host.mounts import TABLE, mount_of, read_mounts

HAS_SWAP = len(Path("/proc/swaps").read_text().splitlines()) > 1
FLAGS = ("--amnesia", "off") if HAS_SWAP else ()
RAM = Path("/dev/shm")  # noqa: S108 - what is RAM on every Linux


def on_a_disk(path: Path) -> bool:
    """False for what lies in RAM."""
    mount = mount_of(os.path.realpath(path), read_mounts(Path(f"/{TABLE}").read_text()))
    return mount is None or not mount.is_ram
