"""The one door to other programs: a fixed environment, and errors that name the missing package."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from image.errors import ImageError

PACKAGE_OF = {  # tool -> Debian package, for the hint when it is missing
    "aarch64-linux-gnu-readelf": "binutils-aarch64-linux-gnu",
    "aarch64-linux-gnu-strip": "binutils-aarch64-linux-gnu",
    "apt-cache": "apt",
    "apt-get": "apt",
    "dpkg": "dpkg",
    "dpkg-deb": "dpkg",
    "mcopy": "mtools",
    "mkfs.vfat": "dosfstools",
    "mmd": "mtools",
    "qemu-aarch64": "qemu-user",
    "zstd": "zstd",
}
SBIN = "/usr/sbin:/sbin"  # mkfs.vfat lives there and is not on a user's PATH on Debian


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    check: bool = True,
) -> str:
    """Run a program to its end and return its standard output.

    Locale and time zone are pinned, because the output of several tools depends on them.

    Args:
        argv: Program and arguments; never a shell line.
        cwd: Folder to run in.
        env: Additions to the environment.
        stdin: Text to feed.
        check: Turn a non-zero exit into an ImageError.
    """
    args = [str(arg) for arg in argv]
    full = os.environ | {"LC_ALL": "C", "TZ": "UTC", "PATH": f"{os.environ['PATH']}:{SBIN}"}
    try:
        done = subprocess.run(
            args,
            cwd=cwd,
            env=full | dict(env or {}),
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as exc:
        package = PACKAGE_OF.get(args[0], "")
        hint = f"apt-get install {package}" if package else ""
        raise ImageError(f"{args[0]}: not found", hint=hint) from exc
    if check and done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ImageError(f"{args[0]}: exit {done.returncode}: {' | '.join(lines[-4:])}")
    return done.stdout
