"""What this copy of the program was built from, written beside it by whoever packs it."""

import json
from pathlib import Path
from typing import NamedTuple

STAMP = Path(__file__).parents[1] / "build.json"
MAX_STAMP_BYTES = 4096
UNKNOWN = "unknown"


class Build(NamedTuple):
    """The revision of the source, and when it was made (UTC, or ``source`` for a checkout)."""

    git: str
    build: str


def read_build(stamp: Path = STAMP) -> Build:
    """Read the stamp; a copy without a good one says so instead of failing."""
    try:
        with stamp.open("rb") as file:
            found = json.loads(file.read(MAX_STAMP_BYTES))
        return Build(str(found["git"])[:64], str(found["build"])[:64])
    except (OSError, ValueError, KeyError, TypeError):
        return Build(UNKNOWN, "source")
