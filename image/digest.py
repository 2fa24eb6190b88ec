"""SHA-256 of files and folder trees."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def of_tree(root: Path, paths: Iterable[Path]) -> str:
    """SHA-256 over names, exec bits and contents; owners, times and umask do not matter."""
    total = hashlib.sha256()
    for path in sorted(paths):
        is_exec = bool(path.stat().st_mode & 0o100)
        total.update(f"{path.relative_to(root)}\0{is_exec:d}{of_file(path)}\n".encode())
    return total.hexdigest()
