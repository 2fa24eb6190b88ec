"""Builds the real image: what the unit tests cannot know."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from image.options import PROJECT
from tests.image import archive_reader
from tests.image.archive_reader import Member

MIB = 1 << 20
BUILD = PROJECT / "build"
TOOLS = ("apt-get", "dpkg-deb", "mcopy", "zstd", "aarch64-linux-gnu-strip")
MISSING = [tool for tool in TOOLS if not shutil.which(tool)]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]


def build(*flags: str, project: Path = PROJECT, **change: Any) -> dict[str, Any]:
    argv = [sys.executable, "-m", "image", "build", "--board", "virt", *flags]
    subprocess.run(argv, check=True, cwd=project, **change)
    out = Path(flags[flags.index("--out") + 1]) if "--out" in flags else project / "build"
    manifest: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    return manifest


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    return build("--fast")


@pytest.fixture(scope="module")
def image(manifest: dict[str, Any]) -> Path:
    return BUILD / str(manifest["image"]["name"])


@pytest.fixture(scope="module")
def members(image: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Member]:
    return archive_reader.initramfs_of(image, tmp_path_factory.mktemp("initramfs"))


def test_an_image_stays_under_its_size(manifest: dict[str, Any]) -> None:
    assert manifest["image"]["size"] <= 80 * MIB
    if manifest["flavour"] == "release":  # a quick build is not what people download
        assert manifest["download"]["size"] <= 32 * MIB


def test_the_manifest_names_every_part_with_its_hash(manifest: dict[str, Any]) -> None:
    parts = [*manifest["packages"], *manifest["wheels"]]
    assert {"busybox-static", "python3.13-minimal", "aiohttp", "blake3"} <= {
        p["name"] for p in parts
    }
    for part in parts:
        assert part["version"]
        assert part["size"] > 0
        assert len(part["sha256"]) == 64


def test_every_module_of_the_service_can_be_imported_in_the_image(
    manifest: dict[str, Any], members: list[Member], tmp_path: Path
) -> None:
    emulator = shutil.which("qemu-aarch64")
    if not emulator:
        pytest.skip("qemu-aarch64 is not installed: apt-get install qemu-user")
    archive_reader.unpack(members, tmp_path)
    code = (
        "import importlib, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "for name in sys.argv[2:]:\n"
        "    importlib.import_module(name)\n"
        "print('imported')\n"
    )
    python = [emulator, "-L", str(tmp_path), str(tmp_path / "usr/bin/python3.13"), "-S", "-B"]
    app = str(tmp_path / "usr/lib/overlay-edge")
    done = subprocess.run(
        [*python, "-c", code, app, *manifest["app_modules"]],
        env={"PYTHONHOME": str(tmp_path / "usr")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "imported", done.stderr


def test_nothing_in_the_image_can_gain_privilege(members: list[Member]) -> None:
    assert not [m.name for m in members if m.mode & 0o6000]
    assert {m.owner for m in members} == {(0, 0)}
    loose = [m.name for m in members if m.mode & 0o022 and m.mode >> 12 == 0o10]
    assert not loose


def test_only_byte_code_is_in_the_image(members: list[Member]) -> None:
    names = [m.name for m in members]
    assert not [name for name in names if name.endswith((".py", ".pyi", ".h"))]
    assert "usr/lib/overlay-edge/__main__.pyc" in names
    assert not [name for name in names if "overlay_edge/ctl" in name]


def test_no_path_of_the_build_machine_is_in_the_image(members: list[Member]) -> None:
    here = str(PROJECT).encode()
    assert not [m.name for m in members if here in m.data]


@pytest.fixture
def snapshot(manifest: dict[str, Any], tmp_path: Path) -> Path:
    """A copy of the sources, which nobody edits between two builds; downloads are shared."""
    copy = tmp_path / "project"
    for name in ("image", "overlays", "overlay_edge"):
        shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(PROJECT / name, copy)
    return copy


def test_two_builds_are_the_same_to_the_byte(snapshot: Path, tmp_path: Path) -> None:
    """Another folder, umask, time zone, locale and hash seed; one difference shows by its file."""
    results = []
    for name, umask, zone, locale in (
        ("one", 0o022, "UTC", "C"),
        ("two", 0o077, "Asia/Tokyo", "C.UTF-8"),
    ):
        out = tmp_path / name
        out.mkdir()
        (out / "cache").symlink_to(BUILD / "cache")
        environ = os.environ | {"TZ": zone, "LC_ALL": locale, "PYTHONHASHSEED": str(umask)}
        flags = ("--fast", "--out", str(out))
        results.append(build(*flags, project=snapshot, env=environ, umask=umask))
    one, two = (tmp_path / n / "overlay-edge-virt.files.txt" for n in ("one", "two"))
    differing = set(one.read_text().splitlines()) ^ set(two.read_text().splitlines())
    assert not differing
    assert results[0]["image"] == results[1]["image"]
    assert results[0] == results[1]
    image = tmp_path / "one/overlay-edge-virt.img"
    before = image.stat().st_mtime_ns
    assert build("--fast", "--out", str(tmp_path / "one"), project=snapshot) == results[0]
    assert image.stat().st_mtime_ns == before  # the third build found nothing to do
