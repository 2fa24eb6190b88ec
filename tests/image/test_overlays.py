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


def text_of(name: str) -> str:
    return (OVERLAYS / name).read_text()


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


def test_no_page_of_a_tmpfs_could_be_swapped_out() -> None:
    text = "".join(path.read_text().replace("\\\n", " ") for path in SCRIPTS)
    lines = [line for line in text.splitlines() if "mount -t tmpfs" in line]
    assert len(lines) == 3
    assert all("-o noswap," in " ".join(line.split()) for line in lines)


def test_init_wipes_before_power_off_and_after_each_end_of_the_service() -> None:
    assert "::shutdown:/usr/lib/appliance/wipe all" in text_of("base/etc/inittab")
    service = text_of("base/usr/lib/appliance/service")
    assert service.index("code=$?") < service.index("wipe store") < service.index("case $code")


def test_pythons_memory_comes_from_an_allocator_that_overwrites_what_is_freed() -> None:
    service = text_of("base/usr/lib/appliance/service")
    assert "PYTHONMALLOC=malloc GLIBC_TUNABLES=$MALLOC" in service
    for setting in ("perturb=165", "tcache_count=0", "mxfast=0"):
        assert f"glibc.malloc.{setting}" in service


def test_nothing_offers_a_login() -> None:
    text = (OVERLAYS / "base/etc/inittab").read_text()
    assert not [word for word in ("getty", "login", "askfirst", "/bin/sh") if word in text]


def test_the_image_defaults_parse() -> None:
    text = (OVERLAYS / "base/etc/overlay-edge/image.toml").read_text()
    assert tomllib.loads(text)["store"]["path"] == "/run/overlay-edge/store"
