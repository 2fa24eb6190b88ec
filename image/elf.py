"""Copies the shared libraries that staged programs need, all the way down, and strips them."""

import re
import shutil
from pathlib import Path

from image.errors import INCOMPLETE, ImageError
from image.run import run

MAGIC = b"\x7fELF"
READELF = "aarch64-linux-gnu-readelf"
STRIP = "aarch64-linux-gnu-strip"


def elf_files(root: Path) -> list[Path]:
    """Programs and libraries below a folder, sorted."""
    found = []
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.suffix != ".ko":
            with path.open("rb") as file:
                if file.read(4) == MAGIC:
                    found.append(path)
    return found


def needed(files: list[Path]) -> set[str]:
    """Library names in the dynamic sections of files."""
    if not files:
        return set()
    listing = run([READELF, "-d", *files])
    return set(re.findall(r"\(NEEDED\)\s+Shared library: \[([^\]]+)\]", listing))


def add_libraries(root: Path, unpacked: Path, extra: list[str]) -> None:
    """Copy what is NEEDED, recursively, from the unpacked packages into the staged root.

    Args:
        root: The staged root.
        unpacked: Where the packages lie.
        extra: Libraries opened by name at run time, which no file declares.
    """
    folders = [unpacked / "usr/lib/aarch64-linux-gnu", unpacked / "usr/lib"]
    files = elf_files(root)
    have = {path.name for path in files}
    wanted = (needed(files) | set(extra)) - have
    while wanted:
        fresh = []
        for name in sorted(wanted):
            source = next((f / name for f in folders if (f / name).is_file()), None)
            if source is None:
                hint = "name its package in root_packages of the recipe"
                raise ImageError(f"{name}: needed, in no package", hint=hint, code=INCOMPLETE)
            target = root / source.parent.relative_to(unpacked) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)  # follows the link: one real file of that name
            target.chmod(0o755)
            fresh.append(target)
        have |= wanted
        wanted = needed(fresh) - have


def strip(root: Path) -> None:
    """Drop symbols no loader needs: most of the weight of some wheels."""
    files = elf_files(root)
    if files:
        run([STRIP, "--strip-unneeded", *files])
