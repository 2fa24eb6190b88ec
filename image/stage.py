"""Builds the root file system of the image: an allow-list, never "everything minus".

unpacked .debs  --keep_files--> |
stdlib, wheels  --closure-----> | staged root --libraries--> --strip--> --compile--> (packed)
overlays/<name> --------------> |
"""

import shutil
from pathlib import Path

from image import closure, elf
from image.closure import Import, Library
from image.errors import INCOMPLETE, ImageError
from image.recipe import Recipe
from image.target import TargetPython

APP = Path("usr/lib/overlay-edge")
MERGED = ("bin", "sbin", "lib")
FOLDERS = ("dev", "proc", "sys", "run", "tmp", "mnt", "etc", "usr/bin", "usr/sbin", "usr/lib")


def skeleton(root: Path, python: str) -> None:
    """Make the empty folders, the merged-/usr links, /init and what scripts call by path."""
    for name in FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in MERGED:
        (root / name).symlink_to(f"usr/{name}")
    (root / "init").symlink_to("usr/bin/busybox")
    (root / "usr/bin/sh").symlink_to("busybox")
    (root / "usr/bin/python3").symlink_to(f"python{python}")


def copy_file(source: Path, target: Path) -> None:
    """Copy contents and the exec bit, following links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)


def keep(unpacked: Path, root: Path, names: list[str]) -> None:
    """Copy the files the recipe names."""
    for name in names:
        if not (unpacked / name).is_file():
            raise ImageError(f"{name}: in no package of the recipe", code=INCOMPLETE)
        copy_file(unpacked / name, root / name)


def overlay(tree: Path, root: Path) -> None:
    """Lay a file tree over the root."""
    if not tree.is_dir():
        raise ImageError(f"overlays/{tree.name}: no such tree", code=INCOMPLETE)
    for source in sorted(tree.rglob("*")):
        if source.is_symlink():
            (root / source.relative_to(tree)).symlink_to(source.readlink())
        elif source.is_file() and "__pycache__" not in source.parts:
            copy_file(source, root / source.relative_to(tree))


def python_files(
    recipe: Recipe, target: TargetPython, unpacked: Path, app: Path, root: Path
) -> list[str]:
    """Stage every Python module that can be imported; returns the names of the app's modules."""
    stdlib = unpacked / f"usr/lib/python{recipe.python}"
    builtin = target.call("scan.py", {"files": []})["builtin"]
    folders = [stdlib, stdlib / "lib-dynload", app]
    library = Library(folders, frozenset(builtin), frozenset(recipe.import_drop))

    def scan(files: list[Path]) -> dict[Path, list[Import]]:
        answer = target.call("scan.py", {"files": [str(path) for path in files]})
        return {
            Path(path): [
                Import(m, tuple(n), level, guard, line) for m, n, level, guard, line in rows
            ]
            for path, rows in answer["imports"].items()
        }

    excuse = frozenset(recipe.import_excuse)
    reached = closure.closure(library, recipe.import_roots, excuse, scan)
    for path in reached.values():
        if path.is_relative_to(app):
            _take(path, app, root / APP)
        else:
            _take(path, unpacked, root)
    for path in app_data(app):
        copy_file(path, root / APP / path.relative_to(app))
    # Python looks for this folder to find its own library, even when it is empty.
    (root / stdlib.relative_to(unpacked) / "lib-dynload").mkdir(parents=True, exist_ok=True)
    return sorted(name for name, path in reached.items() if _is_module(path, app))


def _is_module(path: Path, app: Path) -> bool:
    return path.is_file() and path.is_relative_to(app)


def _take(path: Path, base: Path, into: Path) -> None:
    if path.is_file():
        copy_file(path, into / path.relative_to(base))


def app_data(app: Path) -> list[Path]:
    """What the app needs beside modules: its data files, libraries that wheels bring along."""
    data = [p for p in (app / "overlay_edge").rglob("*") if p.suffix in (".toml", ".json")]
    return sorted([*data, *(p for p in app.glob("*.libs/*") if p.is_file())])


def drop(app: Path, patterns: list[str]) -> None:
    """Remove files from the unpacked wheels that the recipe does not want."""
    for pattern in patterns:
        for path in sorted(app.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def compile_python(target: TargetPython, root: Path) -> str:
    """Replace every .py in the root by its byte code; returns the version that compiled."""
    files = sorted(root.rglob("*.py"))
    pairs = [[str(path), f"/{path.relative_to(root).as_posix()}"] for path in files]
    answer = target.call("compile.py", {"files": pairs})
    return str(answer["version"]).split()[0]


def libraries(recipe: Recipe, unpacked: Path, root: Path) -> None:
    """Add shared libraries and strip all binaries."""
    elf.add_libraries(root, unpacked, recipe.extra_libraries)
    elf.strip(root)
