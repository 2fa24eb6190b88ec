"""The revision in an image is the one it was built from, or says that nobody knows."""

import json
import subprocess
from pathlib import Path

from image import revision


def git(folder: Path, *args: str) -> str:
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    done = subprocess.run(
        ["git", "-C", folder, *who, *args], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_sources_without_a_repository_have_no_revision(tmp_path: Path) -> None:
    assert revision.of(tmp_path) == "unknown"


def test_a_commit_is_named_and_a_change_behind_it_is_not_hidden(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "overlay_edge").mkdir()
    source = tmp_path / "overlay_edge/x.py"
    source.write_text("1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    commit = git(tmp_path, "rev-parse", "--short=12", "HEAD")
    assert revision.of(tmp_path) == commit
    source.write_text("2\n")
    assert revision.of(tmp_path) == f"{commit}-dirty"


def test_the_stamp_is_what_the_service_reads(tmp_path: Path) -> None:
    revision.stamp(tmp_path, "0123", 0)
    told = json.loads((tmp_path / "build.json").read_text())
    assert told == {"git": "0123", "build": "1970-01-01T00:00:00Z"}
