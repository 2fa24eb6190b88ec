"""Gets the packages of a recipe: from the cache, else exactly as locked, else the newest signed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from image import digest
from image.archive import Archive
from image.errors import DOWNLOAD, ImageError
from image.lock import Deb
from image.progress import say


@dataclass(frozen=True, slots=True)
class Fetched:
    """A package on disk.

    Args:
        deb: What it is.
        path: Where it lies.
        is_locked: It is the version the lock names.
    """

    deb: Deb
    path: Path
    is_locked: bool


def is_kernel(name: str, meta: str) -> bool:
    """Whether a package is the kernel that the meta package stands for.

    >>> is_kernel("linux-image-6.12.1-arm64", "linux-image-arm64")
    True
    """
    prefix, _, flavour = meta.rpartition("-")
    return name != meta and name.startswith(f"{prefix}-") and name.endswith(f"-{flavour}")


def kernel_name(archive: Archive, meta: str) -> str:
    """The package that holds the current kernel: its name changes with each release."""
    for part in archive.depends(meta).split(","):
        name = part.split()[0]
        if is_kernel(name, meta):
            return name
    raise ImageError(f"{meta}: depends on no kernel package", code=DOWNLOAD)


def newest(archive: Archive, names: list[str], meta: str = "") -> list[Deb]:
    """The newest version of each package (`meta` stands for the kernel it depends on)."""
    wanted = [kernel_name(archive, meta) if name == meta else name for name in names]
    found = archive.versions(wanted)
    for name in wanted:
        if name not in found:
            raise ImageError(f"{name}: not in the archive", code=DOWNLOAD)
    return [found[name][0] for name in wanted]


def _cached(cache: Path, deb: Deb) -> Path | None:
    path = cache / deb.file_name
    return path if path.is_file() and digest.of_file(path) == deb.sha256 else None


def obtain(
    names: list[str],
    locked: list[Deb],
    *,
    arch: str,
    meta: str,
    cache: Path,
    open_archive: Callable[[], Archive],
    must_be_locked: bool,
) -> list[Fetched]:
    """Have every named package in the cache, verified.

    Args:
        names: Packages, without their dependencies: the recipe names all it wants.
        locked: The whole lock file.
        arch: Architecture wanted; lock lines of `all` fit each.
        meta: The kernel's meta package, which the lock resolves to the real one.
        cache: Folder of downloads, kept between builds.
        open_archive: Gives an updated archive; only called if something must be downloaded.
        must_be_locked: Refuse to fall to another version than the lock's.
    """
    by_name = {d.name: d for d in locked if d.arch in (arch, "all")}
    kernels = [d for d in by_name.values() if meta and is_kernel(d.name, meta)]
    wanted = {n: kernels[0] if n == meta and kernels else by_name.get(n) for n in names}
    missing = [n for n, d in wanted.items() if d is None or not _cached(cache, d)]
    if missing:
        cache.mkdir(parents=True, exist_ok=True)
        archive = open_archive()
        on_offer = archive.versions([d.name for n in missing if (d := wanted[n])] or missing)
        for name in missing:
            deb = wanted[name]
            if deb is None or deb not in on_offer.get(deb.name, []):
                wanted[name] = _fallback(archive, name, meta, deb, must_be_locked)
        chosen = {name: deb for name, deb in wanted.items() if deb}
        absent = [d for d in chosen.values() if not _cached(cache, d)]
        if absent:
            archive.fetch(absent, cache)
    return [_verified(cache, deb, deb in locked) for deb in wanted.values() if deb]


def _fallback(archive: Archive, name: str, meta: str, deb: Deb | None, strict: bool) -> Deb:
    current = newest(archive, [name], meta)[0]
    was = f"{deb.name} {deb.version}" if deb else name
    what = "is not in the archive any more" if deb else "is not in debs.lock"
    if strict:
        hint = "leave out --locked to take the archive's, or renew the lock: python -m image lock"
        raise ImageError(f"{was} {what}", hint=hint, code=DOWNLOAD)
    say(f"WARNING: {was} {what}; taking {current.name} {current.version} (signed, NOT LOCKED)")
    return current


def _verified(cache: Path, deb: Deb, is_locked: bool) -> Fetched:
    path = _cached(cache, deb)
    if not path:
        raise ImageError(f"{deb.file_name}: does not match its SHA-256", code=DOWNLOAD)
    return Fetched(deb, path, is_locked)
