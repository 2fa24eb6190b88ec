"""Finds which Python modules the service can ever import, and what it would miss.

The same walk prunes and checks: what it reaches goes into the image, what it cannot resolve fails
the build, unless the code expects the failure (try/except ImportError) or the recipe excuses it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from image.errors import INCOMPLETE, ImageError

EXTENSION = ".so"
ALIASES = {"os.path": "posixpath", "collections.abc": "_collections_abc"}  # set in sys.modules
FROZEN = {"_frozen_importlib", "_frozen_importlib_external"}  # born inside the interpreter


@dataclass(frozen=True, slots=True)
class Import:
    """One import statement: `from <level dots><module> import <names>`."""

    module: str
    names: tuple[str, ...]
    level: int
    is_guarded: bool
    line: int


Scan = Callable[[list[Path]], Mapping[Path, list[Import]]]


@dataclass(slots=True)
class Library:
    """Finds modules by name in folders, as the import system would.

    Args:
        folders: The search path.
        builtin: Modules inside the interpreter.
        drop: Modules (with all below them) that are left out on purpose.
    """

    folders: list[Path]
    builtin: frozenset[str]
    drop: frozenset[str] = frozenset()
    _seen: dict[str, Path | None] = field(default_factory=dict)

    def is_dropped(self, name: str) -> bool:
        """Whether the recipe leaves a module, or a package above it, out."""
        parts = name.split(".")
        return any(".".join(parts[:n]) in self.drop for n in range(1, len(parts) + 1))

    def find(self, name: str) -> Path | None:
        """The file (or, for a package without `__init__`, the folder) of a module."""
        if name not in self._seen:
            self._seen[name] = self._find(name)
        return self._seen[name]

    def _find(self, name: str) -> Path | None:
        namespace = None
        for folder in self.folders:
            base = folder.joinpath(*name.split("."))
            init = base / "__init__.py"
            if init.is_file():
                return init
            if base.parent.is_dir():  # compiled modules win over sources of the same name
                for path in sorted(base.parent.glob(f"{base.name}.*{EXTENSION}")):
                    if path.name.partition(".")[0] == base.name:
                        return path
            source = base.with_name(base.name + ".py")
            if source.is_file():
                return source
            if base.is_dir():
                namespace = namespace or base
        return namespace

    def names_below(self, package: str) -> list[str]:
        """A package and every module in it, by name."""
        found = []
        start = self.find(package)
        if start is None:
            return [package]
        top = start.parent if start.name == "__init__.py" else start
        if not top.is_dir():
            return [package]
        for path in sorted(top.rglob("*")):
            stem = path.name.partition(".")[0]
            if path.suffix in {".py", EXTENSION}:
                parts = [
                    *path.relative_to(top).parent.parts,
                    *([stem] if stem != "__init__" else []),
                ]
                found.append(".".join([package, *parts]))
        return found


def absolute(name: str, is_package: bool, item: Import) -> str:
    """The absolute module name of an import found in module `name`."""
    if not item.level:
        return item.module
    parts = name.split(".")
    up = item.level - 1 if is_package else item.level
    base = parts[: len(parts) - up]
    return ".".join([*base, item.module] if item.module else base)


def closure(
    library: Library, roots: Iterable[str], excuse: frozenset[str], scan: Scan
) -> dict[str, Path]:
    """Everything reachable from the roots: module name to file.

    Args:
        library: Where modules are looked for.
        roots: Names to start at; `package.*` means all of it.
        excuse: Modules that may be missing without a guard (other systems, options not used).
        scan: Lists the imports of files.

    Raises:
        ImageError: with every import that cannot be resolved, and where it is.
    """
    reached: dict[str, Path] = {}
    todo: list[str] = []
    missing: list[str] = []

    def want(name: str, where: str, *, is_optional: bool) -> bool:
        """Queue a module and the packages above it; report whether it exists."""
        name = ALIASES.get(name, name)
        top = name.partition(".")[0]
        if top in FROZEN or name in library.builtin:
            return True
        if library.is_dropped(name):
            return False
        path = library.find(name)
        if path is None:
            if not is_optional and top not in excuse and name not in excuse:
                missing.append(f"{name} ({where})")
            return False
        if name not in reached:
            reached[name] = path
            todo.append(name)
            above = name.rpartition(".")[0]
            if above:
                want(above, where, is_optional=is_optional)
        return True

    for root in roots:
        names = library.names_below(root[:-2]) if root.endswith(".*") else [root]
        for name in names:
            want(name, "the recipe", is_optional=False)
    while todo:
        batch, todo = todo, []
        files = [reached[name] for name in batch if reached[name].suffix == ".py"]
        imports = scan(files)
        for name in batch:
            path = reached[name]
            for item in imports.get(path, []):
                target = absolute(name, path.name == "__init__.py", item)
                where = f"{path.name} of {name}, line {item.line}"
                if want(target, where, is_optional=item.is_guarded):
                    for attribute in item.names:
                        want(f"{target}.{attribute}", where, is_optional=True)
    if missing:
        hint = "add what provides it, or excuse it in the recipe (import_excuse) with its reason"
        message = f"imports without a module: {'; '.join(sorted(set(missing)))}"
        raise ImageError(message, hint=hint, code=INCOMPLETE)
    return reached
