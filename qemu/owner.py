"""Gives a copy of an image a site's public key, as a person would copy a settings file onto a card.

A board that belongs to nobody takes no orders and stores nothing: writing needs a capability, and
the public key to check it with comes from the site's settings.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from qemu import ronctl
from qemu.errors import USAGE, QemuError
from qemu.medium import extract, partition_offset

SETTINGS = "overlay-edge.toml"
OPS = "get,head,put,control"


class Owned(NamedTuple):
    """A copy of an image that belongs to somebody, and that somebody's capability."""

    image: Path
    cap: Path


def own(image: Path, folder: Path) -> Owned:
    """Make a key pair and a capability, and put the public key on a copy of the image.

    Args:
        image: Stays as it is.
        folder: Takes the copy and the keys; throw it away afterwards.

    Raises:
        QemuError: The image's settings name keys of their own.
    """
    copy, key, cap = folder / image.name, folder / "site.key", folder / "site.cap"
    public = json.loads(ronctl.offline("cap", "keygen", str(key)))["public"]
    ronctl.offline("cap", "mint", "--key", str(key), "--op", OPS, "-o", str(cap))
    settings = _settings_of(image, folder)
    if "[auth]" in settings:
        raise QemuError(
            f"{image}: its settings name keys of their own",
            hint="boot an image without [auth] in its site file, or use ronctl --cap yourself",
            code=USAGE,
        )
    shutil.copyfile(image, copy)
    _write(copy, f'{settings}\n[auth]\nmode = "write"\nkeys = ["{public}"]\n', folder)
    return Owned(copy, cap)


def _settings_of(image: Path, folder: Path) -> str:
    try:
        return extract(image, [SETTINGS], folder)[SETTINGS].read_text()
    except QemuError:
        return ""  # an image without settings is the usual one


def _write(image: Path, settings: str, folder: Path) -> None:
    source = folder / SETTINGS
    source.write_text(settings)
    target = f"{image}@@{partition_offset(image)}"
    argv = ["mcopy", "-o", "-i", target, str(source), f"::{SETTINGS}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise QemuError(f"{image}: {SETTINGS}: {done.stderr.strip()}", code=USAGE)
