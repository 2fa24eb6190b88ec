"""Lays out the FAT partition: one kernel and one initramfs, found by two kinds of firmware.

UEFI          EFI/BOOT/BOOTAA64.EFI -> loader/entries/*.conf   --> | vmlinuz
Raspberry Pi  bootcode.bin, start*.elf -> config.txt, cmdline.txt > | initrd.zst
"""

import hashlib
import tomllib
from pathlib import Path

from image.errors import INCOMPLETE, USAGE, ImageError
from image.progress import say
from image.recipe import Recipe
from image.stage import copy_file

MAX_SITE_BYTES = 64 * 1024  # the guest reads no more than this; a settings file has a few hundred
SITE_NAME = "overlay-edge.toml"
README = """\
This is the boot medium of an overlay-edge appliance.

Settings: put a file named overlay-edge.toml beside this one. It is read once
at start; a mistake in it is shown on the console and by /readyz, and the board
comes up on safe defaults. Keys, certificates and credentials go into a folder
named site: the settings then name them as /run/site/FILE (up to 16 files of at
most 64 KiB). After boot nothing on this medium is used, and nothing is ever
written to it: you can take it out.
"""


def check_site(path: Path) -> None:
    """Refuse a site file the guest would not read; one with mistakes is only pointed out.

    The guest names mistakes better than we can, since it knows the keys.
    """
    if not path.is_file():
        raise ImageError(f"site file {path}: no such file", code=USAGE)
    size = path.stat().st_size
    if size > MAX_SITE_BYTES:
        message = f"site file {path}: {size} bytes, expected at most {MAX_SITE_BYTES}"
        raise ImageError(message, code=USAGE)
    try:
        tomllib.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        say(f"WARNING: site file {path}: {exc}; the board will start on its defaults")


def volume_serial(kernel: Path, initramfs: Path) -> int:
    """The FAT volume id: the same contents give the same id, other contents another."""
    total = hashlib.sha256(kernel.read_bytes() + initramfs.read_bytes())
    return int.from_bytes(total.digest()[:4], "big")


def serial_text(serial: int) -> str:
    """The id as it is usually shown, for the kernel command line: XXXX-XXXX."""
    return f"{serial >> 16:04X}-{serial & 0xFFFF:04X}"


def command_line(recipe: Recipe, extra: str, serial: int) -> str:
    """The kernel command line, in one line."""
    return f"{recipe.cmdline_common} {extra} overlay.medium={serial_text(serial)}".strip()


def lay_out(
    recipe: Recipe, unpacked: Path, initramfs: Path, kernel: Path, tree: Path, site: Path | None
) -> int:
    """Fill the folder that becomes the FAT partition; returns the volume id."""
    serial = volume_serial(kernel, initramfs)
    copy_file(kernel, tree / "vmlinuz")
    copy_file(initramfs, tree / "initrd.zst")
    for pattern, folder in recipe.boot_files.items():
        found = sorted(unpacked.glob(pattern))
        if not found:
            raise ImageError(f"{pattern}: in no package of the recipe", code=INCOMPLETE)
        for path in found:
            target = tree / folder
            copy_file(path, target / path.name if folder.endswith("/") or not folder else target)
    texts = {
        "config.txt": "\n".join(recipe.pi_config),
        "cmdline.txt": command_line(recipe, recipe.cmdline_pi, serial),
        "loader/loader.conf": "\n".join(recipe.loader_config),
        "loader/entries/overlay-edge.conf": "\n".join(
            [
                "title overlay-edge",
                "linux /vmlinuz",
                "initrd /initrd.zst",
                f"options {command_line(recipe, recipe.cmdline_uefi, serial)}",
            ]
        ),
        "README.txt": README.rstrip("\n"),
    }
    for name, text in texts.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    if site:
        copy_file(site, tree / SITE_NAME)
    return serial
