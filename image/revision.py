"""Knows which revision of the sources a build is made from."""

import json
from datetime import UTC, datetime
from pathlib import Path

from image.errors import ImageError
from image.run import run

UNKNOWN = "unknown"


def of(project: Path) -> str:
    """The commit, with ``-dirty`` behind it when the service's files are not as committed.

    Sources without a repository, such as an unpacked archive, have none.
    """
    git: list[str | Path] = ["git", "-C", project, "-c", f"safe.directory={project}"]
    try:
        commit = run([*git, "rev-parse", "--short=12", "HEAD"]).strip()
        changed = run([*git, "status", "--porcelain", "--", "overlay_edge"]).strip()
    except ImageError:
        return UNKNOWN
    return f"{commit}-dirty" if changed else commit


def stamp(package: Path, revision: str, epoch: int) -> None:
    """Write beside the service what it was built from; ``/version`` shows it."""
    built = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    (package / "build.json").write_text(json.dumps({"git": revision, "build": built}) + "\n")
