import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from image.recipe import load

OVERLAYS = Path(__file__).parents[2] / "overlays"
FILES = sorted(p for p in OVERLAYS.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
SCRIPTS = [p for p in FILES if p.read_bytes().startswith(b"#!/bin/sh")]
SHELLCHECK = shutil.which("shellcheck")
# Files sourced by absolute path cannot be followed; ash has `ulimit -c`.
PASSED_OVER = "SC1091,SC3045,SC2013"


@pytest.mark.slow
@pytest.mark.skipif(not SHELLCHECK, reason="not installed: apt-get install shellcheck")
def test_shellcheck_has_nothing_to_say() -> None:
    argv = [str(SHELLCHECK), "-s", "dash", "-e", PASSED_OVER, *map(str, SCRIPTS)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_only_what_is_started_is_executable() -> None:
    for path in SCRIPTS:
        is_sourced = path.parent.name == "rc.d"
        assert bool(path.stat().st_mode & 0o100) is not is_sourced, path


def test_every_tree_is_in_a_recipe() -> None:
    assert {p.name for p in OVERLAYS.iterdir()} == set(load("virt").overlays)


def test_every_writable_mount_is_bounded_and_runs_nothing() -> None:
    mounts = [
        line
        for path in SCRIPTS
        for line in path.read_text().replace("\\\n", " ").splitlines()
        if "mount -t tmpfs" in line or "mount -t devtmpfs" in line
    ]
    assert len(mounts) == 4
    for line in mounts:
        for option in ("nosuid", "noexec", "size=", "nr_inodes="):
            assert option in line


def test_nothing_offers_a_login() -> None:
    text = (OVERLAYS / "base/etc/inittab").read_text()
    assert not [word for word in ("getty", "login", "askfirst", "/bin/sh") if word in text]


def test_the_image_defaults_parse() -> None:
    text = (OVERLAYS / "base/etc/overlay-edge/image.toml").read_text()
    assert tomllib.loads(text)["store"]["path"] == "/run/overlay-edge/store"
