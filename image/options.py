"""What one build is asked for, and where the project keeps what it builds from."""

from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
DEBS_LOCK = PROJECT / "image/debs.lock"
WHEELS_LOCK = PROJECT / "image/wheels.lock"


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for.

    Args:
        board: Name of the recipe.
        out: Folder for results, work and downloads.
        site: Settings file to put on the medium.
        mirror: Archive to use, or empty for the host's.
        is_fast: Compress quickly, for development.
        is_locked: Refuse packages that differ from the lock.
        is_forced: Build even if the image is up to date.
        service: A ready wheel of the service, or none to build it from the sources.
    """

    board: str
    out: Path
    site: Path | None = None
    mirror: str = ""
    is_fast: bool = False
    is_locked: bool = False
    is_forced: bool = False
    service: Path | None = None
