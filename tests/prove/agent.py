"""An image with a root shell on a second serial line: the only change to what people flash.

It is put into a copy of the image, as a second archive behind the first one of the initramfs. The
shell crashes the service, panics the kernel or presses no button; it never sees a secret.
"""

import io
import socket
from pathlib import Path

from image import cpio, fat

PROJECT = Path(__file__).parents[2]
INITTAB = PROJECT / "overlays/base/etc/inittab"
PATH = "usr/lib/prove/agent"
SCRIPT = b"""#!/bin/sh
exec 0<>/dev/ttyS0 1>&0 2>/dev/null
stty raw -echo
while read -r order; do
    eval "$order"
    echo "ended $?"
done
"""
LIMIT_S = 60.0


def archive(files: dict[str, bytes]) -> bytes:
    """A second archive with files that replace or join those of the image.

    Args:
        files: Path in the image and content; what begins with ``#!`` may be run.
    """
    lines = [INITTAB.read_bytes().rstrip(b"\n"), f"::respawn:/{PATH}".encode(), b""]
    members = {"etc/inittab": b"\n".join(lines), PATH: SCRIPT, **files}
    folders = {str(parent) for name in members for parent in Path(name).parents} - {"."}
    entries = [cpio.Entry(name, cpio.DIRECTORY | 0o755) for name in sorted(folders)]
    for name, data in members.items():
        mode = 0o755 if data.startswith(b"#!") else 0o644
        entries.append(cpio.Entry(name, cpio.REGULAR | mode, data))
    out = io.BytesIO()
    cpio.write(iter(entries), out, mtime=0)
    return out.getvalue()


def add_files(image: Path, files: dict[str, bytes], scratch: Path) -> None:
    """Put the shell, and files over those of the image, into a copy of an image."""
    initramfs = scratch / "initrd.zst"
    initramfs.unlink(missing_ok=True)
    fat.read(image, "initrd.zst", initramfs)
    first = cpio.pad(initramfs.read_bytes())
    initramfs.write_bytes(first + archive(files))
    fat.copy_in(image, initramfs, "initrd.zst")


def flags(path: Path) -> tuple[str, ...]:
    """QEMU's flags for the serial line, at a socket."""
    return (
        *("-chardev", f"socket,id=agent,path={path},server=on,wait=off"),
        *("-device", "pci-serial,chardev=agent"),
    )


class Agent:
    """The shell's other end."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(LIMIT_S)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rb")

    def order(self, text: str) -> str:
        """Have a command run to its end; returns what it printed."""
        self.send(text)
        printed = []
        for raw in self._lines:
            line = raw.decode(errors="replace").strip("\r\n")
            if line.startswith("ended "):
                return "\n".join(printed)
            printed.append(line)
        raise ConnectionError("the guest's shell is gone")

    def send(self, text: str) -> None:
        """Have a command run that nothing comes back from."""
        self._socket.sendall(text.encode() + b"\n")

    def close(self) -> None:
        """Leave the shell alone."""
        self._lines.close()
        self._socket.close()
