"""Reads a recipe: the data of one image (packages, modules, pruning, kernel command line)."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_origin

from image.errors import USAGE, ImageError

FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One image, as `recipes/<board>.toml` says. The comments there are the manual."""

    suite: str
    components: list[str]
    arch: str
    epoch: int
    label: str
    slack_bytes: int
    boards: list[str]
    kernel_package: str
    root_packages: list[str]
    boot_packages: list[str]
    compiler_packages: list[str]
    python: str
    wheel_platforms: list[str]
    import_roots: list[str]
    import_drop: list[str]
    import_excuse: list[str]
    app_drop: list[str]
    keep_files: list[str]
    extra_libraries: list[str]
    overlays: list[str]
    modules: dict[str, list[str]]
    boot_files: dict[str, str]
    cmdline_common: str
    cmdline_uefi: str
    cmdline_pi: str
    pi_config: list[str]
    loader_config: list[str]


def load(board: str, folder: Path = FOLDER) -> Recipe:
    """Read the recipe of a board; an unknown board is refused with the list of known ones."""
    path = folder / f"{board}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.toml")))
        raise ImageError(f"board {board!r}: no recipe, expected one of {known}", code=USAGE)
    return parse(path.read_text(), source=path.name)


def parse(text: str, *, source: str) -> Recipe:
    """Turn recipe text into a Recipe; a missing, unknown or wrongly typed key is refused."""
    try:
        table: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ImageError(f"{source}: {exc}", code=USAGE) from exc
    fields = {name: field.type for name, field in Recipe.__dataclass_fields__.items()}
    for key in sorted(table.keys() ^ fields.keys()):
        what = "unknown key" if key in table else "missing"
        raise ImageError(f"{source}: {key}: {what}", code=USAGE)
    for key, kind in fields.items():
        wanted = get_origin(kind) or kind
        if not isinstance(table[key], wanted):  # type: ignore[arg-type]
            found = type(table[key]).__name__
            raise ImageError(f"{source}: {key}: {found}, expected {kind}", code=USAGE)
    return Recipe(**table)
