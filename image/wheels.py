"""Gets the pinned, hashed wheels for the target and builds the service's own wheel."""

import re
import shutil
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from image import digest
from image.errors import DOWNLOAD, ImageError
from image.run import run


@dataclass(frozen=True, slots=True)
class Pin:
    """One line of wheels.lock: a release and the hashes of the files that may be used."""

    name: str
    version: str
    hashes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel on disk."""

    name: str
    version: str
    path: Path
    size: int
    sha256: str


def parse(text: str) -> list[Pin]:
    """Read hashed requirements: `name==version --hash=sha256:...`, lines may be continued."""
    pins = []
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = re.match(r"\s*([\w.-]+)==([^\s;]+)", line)
        hashes = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", line))
        if not found or not hashes:
            raise ImageError(f"wheels.lock: {line.split()[0]}: expected name==version --hash=...")
        pins.append(Pin(found[1], found[2], hashes))
    return pins


def target_flags(platforms: list[str], python: str) -> list[str]:
    """What makes pip choose files for the image instead of for this machine."""
    abi = "cp" + python.replace(".", "")
    flags = [f"--platform={platform}" for platform in platforms]
    flags += [f"--python-version={python}", "--implementation=cp"]
    return [*flags, f"--abi={abi}", "--abi=abi3", "--abi=none", "--only-binary=:all:"]


def obtain(lock: Path, cache: Path, platforms: list[str], python: str) -> list[Wheel]:
    """Have every pinned wheel in the cache; pip checks hashes on the way, we check them again."""
    pins = parse(lock.read_text())
    cache.mkdir(parents=True, exist_ok=True)
    found = _match(pins, cache)
    if len(found) < len(pins):
        flags = target_flags(platforms, python)
        base = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
        try:
            run([*base, "--no-deps", "--require-hashes", *flags, "-d", cache, "-r", lock])
        except ImageError as exc:
            raise ImageError(f"wheels: {exc}", hint=exc.hint, code=DOWNLOAD) from exc
        found = _match(pins, cache)
    for pin in pins:
        if pin.name not in found:
            message = f"{pin.name}=={pin.version}: no wheel with a hash of wheels.lock"
            raise ImageError(message, code=DOWNLOAD)
    return [found[pin.name] for pin in pins]


def _match(pins: list[Pin], cache: Path) -> dict[str, Wheel]:
    by_hash = {digest.of_file(path): path for path in sorted(cache.glob("*.whl"))}
    found = {}
    for pin in pins:
        for sha256 in pin.hashes & by_hash.keys():
            path = by_hash[sha256]
            found[pin.name] = Wheel(pin.name, pin.version, path, path.stat().st_size, sha256)
    return found


def build_service(project: Path, work: Path) -> Path:
    """Build the service's wheel from a copy of the sources.

    A copy, because setuptools leaves its `build/lib` behind, and packs again what it finds there.
    """
    sources = work / "sources"
    shutil.rmtree(work, ignore_errors=True)
    sources.mkdir(parents=True)
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(project / "overlay_edge", sources / "overlay_edge", ignore=skip)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(project / name, sources)
    base = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    run([*base, "--no-deps", "--no-build-isolation", "-w", work, sources])
    return next(work.glob("*.whl"))


def unpack(wheel: Path, into: Path) -> None:
    """Unpack a wheel's importable part; scripts, headers and metadata stay out."""
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            top = info.filename.partition("/")[0]
            if top.endswith(".data"):
                raise ImageError(f"{wheel.name}: {top}/ is not supported")
            if not top.endswith(".dist-info"):
                archive.extract(info, into)
