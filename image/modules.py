"""Picks kernel modules and the order to load them in, so the image needs no depmod or modprobe."""

import lzma
import re
from pathlib import Path

from image.errors import INCOMPLETE, ImageError


class ModuleTree:
    """The modules of one kernel package.

    Args:
        folder: `usr/lib/modules/<version>` of the unpacked package.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = {}
        for path in sorted(folder.rglob("*.ko*")):
            self._paths[path.name.partition(".ko")[0].replace("-", "_")] = path
        lines = (folder / "modules.builtin").read_text().splitlines()
        self._builtin = {Path(line).stem.replace("-", "_") for line in lines}
        self._data: dict[str, bytes] = {}

    def read(self, name: str) -> bytes:
        """The unpacked module; not stripped, because it is signed."""
        if name not in self._data:
            path = self._paths[name]
            raw = path.read_bytes()
            self._data[name] = lzma.decompress(raw) if path.suffix == ".xz" else raw
        return self._data[name]

    def order(self, wanted: list[str]) -> list[str]:
        """Names in load order, dependencies first; what is built in is left out.

        Raises:
            ImageError: A name is neither a module nor built in.
        """
        done: list[str] = []
        for name in wanted:
            self._visit(name.replace("-", "_"), done)
        return done

    def _visit(self, name: str, done: list[str]) -> None:
        if name in done or name in self._builtin:
            return
        if name not in self._paths:
            message = f"{name}: neither a module of this kernel nor built in"
            raise ImageError(message, code=INCOMPLETE)
        for needed in depends(self.read(name)):
            self._visit(needed.replace("-", "_"), done)
        done.append(name)


def depends(module: bytes) -> list[str]:
    """The names in the `depends=` field of a module's information section."""
    found = re.search(rb"\0depends=([^\0]*)\0", module)
    return [name for name in found[1].decode().split(",") if name] if found else []


def stage(tree: ModuleTree, sets: dict[str, list[str]], root: Path) -> dict[str, list[str]]:
    """Write modules and one `<set>.order` for each set into the staged root."""
    folder = root / "usr/lib/modules"
    folder.mkdir(parents=True, exist_ok=True)
    orders = {name: tree.order(wanted) for name, wanted in sets.items()}
    for name, order in orders.items():
        (folder / f"{name}.order").write_text("".join(f"{module}\n" for module in order))
        for module in order:
            (folder / f"{module}.ko").write_bytes(tree.read(module))
    return orders
