"""Runs the very Python version of the image on the build host, without emulation.

The byte code of 3.13.0 and 3.13.5 differs, so "some 3.13" is not enough: the host-architecture
package of the same Debian version is unpacked beside the image and started through its own
loader, so it does not matter which C library the host has.
"""

import json
import platform
from pathlib import Path
from typing import Any

from image.errors import ImageError
from image.run import run

INSIDE = Path(__file__).parent / "inside"


class TargetPython:
    """The image's Python, for the build host's processor.

    Args:
        tool: Unpacked packages of the host's architecture: interpreter, C library, zlib, expat.
        root: Unpacked packages of the image: its pure Python library is used as it is.
        python: For example 3.13.
    """

    def __init__(self, tool: Path, root: Path, python: str) -> None:
        self._binary = tool / f"usr/bin/python{python}"
        loaders = sorted((tool / "usr").glob("lib*/ld-linux*.so.*"))
        libraries = sorted({p.parent for p in (tool / "usr/lib").glob("*-linux-gnu*/*.so.*")})
        if not loaders or not libraries:
            raise ImageError(f"{tool}: no loader for {platform.machine()} in the compiler packages")
        self._loader = loaders[0]
        self._libraries = ":".join(str(path) for path in libraries)
        self._library = root / f"usr/lib/python{python}"

    def call(self, script: str, request: object) -> Any:
        """Run a script of `inside/` with a JSON request and return its JSON answer."""
        loader: list[str | Path] = [self._loader, "--library-path", self._libraries, self._binary]
        env = {"PYTHONHOME": "/nonexistent", "PYTHONPATH": str(self._library)}
        env |= {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
        answer = run([*loader, "-S", "-B", INSIDE / script], env=env, stdin=json.dumps(request))
        return json.loads(answer)
