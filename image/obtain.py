"""Gets everything an image is made of, verified, and unpacks it."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from image import debs, lock, wheels
from image.archive import Archive
from image.debs import Fetched
from image.errors import ImageError
from image.mirror import Mirror, find
from image.options import DEBS_LOCK, PROJECT, WHEELS_LOCK, Options
from image.recipe import Recipe
from image.run import run
from image.wheels import Wheel


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything downloaded or built before staging."""

    packages: list[Fetched]
    compiler: list[Fetched]
    wheels: list[Wheel]
    service: Path


def host_arch() -> str:
    """Debian's name of this machine's architecture."""
    return run(["dpkg", "--print-architecture"]).strip()


def open_archive(options: Options, recipe: Recipe, arch: str) -> Archive:
    """A fresh view of the archive for one architecture."""
    where: Mirror = find(os.environ, flag=options.mirror)
    state = options.out / "cache" / f"apt-{arch}"
    archive = Archive(state, where, arch=arch, suite=recipe.suite, components=recipe.components)
    archive.update()
    return archive


def everything(options: Options, recipe: Recipe, work: Path) -> Parts:
    """Download what the cache lacks, all kinds at the same time, and verify all of it."""
    locked = lock.read(DEBS_LOCK)
    cache = options.out / "cache"
    names = [recipe.kernel_package, *recipe.root_packages, *recipe.boot_packages]

    def packages(arch: str, wanted: list[str], meta: str) -> list[Fetched]:
        return debs.obtain(
            wanted,
            locked,
            arch=arch,
            meta=meta,
            cache=cache / "debs",
            open_archive=lambda: open_archive(options, recipe, arch),
            must_be_locked=options.is_locked,
        )

    with ThreadPoolExecutor() as pool:
        image_debs = pool.submit(packages, recipe.arch, names, recipe.kernel_package)
        pinned = pool.submit(
            wheels.obtain, WHEELS_LOCK, cache / "wheels", recipe.wheel_platforms, recipe.python
        )
        service = pool.submit(wheels.build_service, PROJECT, work / "service")
        if host_arch() == recipe.arch:
            image_debs.result()  # the same files: not to be fetched twice at once
        tools = pool.submit(packages, host_arch(), recipe.compiler_packages, "")
        return Parts(
            image_debs.result(),
            tools.result(),
            pinned.result(),
            options.service or service.result(),
        )


def check_compiler(parts: Parts, recipe: Recipe) -> None:
    """The compiling Python must be the image's, to the last digit."""
    name = f"python{recipe.python}-minimal"
    inside = next(item.deb for item in parts.packages if item.deb.name == name)
    tool = next(item.deb for item in parts.compiler if item.deb.name == name)
    if inside.version != tool.version:
        hint = f"delete the older of the two from the cache: {inside.file_name}, {tool.file_name}"
        message = f"{name}: {inside.version} in the image, {tool.version} on the build host"
        raise ImageError(message, hint=hint)


def unpack(items: list[Fetched], into: Path) -> None:
    """Unpack packages without running any of their scripts."""
    into.mkdir(parents=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda item: run(["dpkg-deb", "-x", item.path, into]), items))
