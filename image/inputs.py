"""Knows whether an image is still up to date: a digest over everything it was made from."""

import hashlib
from pathlib import Path
from typing import Any

from image import digest

FOLDERS = ("image", "overlays", "overlay_edge")
FILES = ("pyproject.toml", "README.md")


def of(project: Path, board: str, site: Path | None) -> str:
    """The digest of sources, recipe, locks and site file."""
    paths = [project / name for name in FILES]
    for folder in FOLDERS:
        for path in (project / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                paths.append(path)
    site_hash = digest.of_file(site) if site else "-"
    tree = digest.of_tree(project, paths)
    return hashlib.sha256(f"{board} {site_hash} {tree}".encode()).hexdigest()


def is_current(manifest: dict[str, Any], wanted: str, image: Path, *, is_fast: bool) -> bool:
    """Whether an image on disk is what a build would give; a release also serves as a fast one."""
    return (
        manifest.get("inputs") == wanted
        and manifest.get("locked") is True
        and (is_fast or manifest.get("flavour") == "release")
        and image.is_file()
        and image.stat().st_size == manifest["image"]["size"]
        and digest.of_file(image) == manifest["image"]["sha256"]
    )
