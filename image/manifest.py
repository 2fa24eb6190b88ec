"""Writes manifest.json: what an image is made of, and the hashes to check it by."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from image.cpio import Entry
from image.debs import Fetched
from image.wheels import Wheel


def file_list(members: Iterable[Entry]) -> str:
    """One line for each member of the initramfs: mode, size, SHA-256, name."""
    rows = []
    for entry in members:
        sha256 = hashlib.sha256(entry.data).hexdigest() if entry.data else "-"
        rows.append(f"{entry.mode:06o} {len(entry.data)} {sha256} {entry.name}\n")
    return "".join(rows)


def packages(fetched: Iterable[Fetched]) -> list[dict[str, Any]]:
    """The .debs, sorted by name."""
    rows = sorted(fetched, key=lambda f: (f.deb.name, f.deb.arch))
    return [
        {
            "name": item.deb.name,
            "arch": item.deb.arch,
            "version": item.deb.version,
            "size": item.deb.size,
            "sha256": item.deb.sha256,
            "locked": item.is_locked,
        }
        for item in rows
    ]


def wheels(found: Iterable[Wheel]) -> list[dict[str, Any]]:
    """The wheels, sorted by name."""
    return [
        {"name": w.name, "version": w.version, "size": w.size, "sha256": w.sha256}
        for w in sorted(found, key=lambda w: w.name)
    ]


def write(path: Path, content: dict[str, Any]) -> None:
    """Write the manifest with sorted keys, so that equal builds give equal files."""
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def read(path: Path) -> dict[str, Any]:
    """Read a manifest; a missing or broken one is an empty one."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
