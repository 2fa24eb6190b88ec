"""Builds one image: the steps in their order, each from folder to folder.

obtain -> unpack -> stage -> compile -> modules -> pack (initramfs) -> FAT -> MBR -> manifest
"""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from image import (
    cpio,
    debs,
    digest,
    fat,
    inputs,
    lock,
    manifest,
    mbr,
    medium,
    modules,
    stage,
    wheels,
)
from image.archive import Archive
from image.debs import Fetched
from image.errors import ImageError
from image.mirror import Mirror, find
from image.progress import say, step
from image.recipe import Recipe, load
from image.run import run
from image.target import TargetPython
from image.wheels import Wheel

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


def obtain(options: Options, recipe: Recipe, work: Path) -> Parts:
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


def compress(source: Path, target: Path, *flags: str) -> None:
    """Compress with zstd; two workers always, because their number may change the bytes."""
    run(["zstd", "-q", "-f", "-T2", *flags, source, "-o", target])


def build(options: Options) -> dict[str, Any]:
    """Build the image of a board, or find that it is up to date; returns its manifest."""
    recipe = load(options.board)
    if options.site:
        medium.check_site(options.site)
    name = f"overlay-edge-{options.board}"
    image = options.out / f"{name}.img"
    record = options.out / "manifest.json"
    wanted = inputs.of(PROJECT, options.board, options.site)
    found = manifest.read(record)
    if not options.is_forced and inputs.is_current(found, wanted, image, is_fast=options.is_fast):
        say(f"{image}: up to date")
        return found
    work = options.out / "work" / options.board
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    record.unlink(missing_ok=True)
    old_umask = os.umask(0o022)
    try:
        made = _build(options, recipe, work, image)
    finally:
        os.umask(old_umask)
    made["inputs"] = wanted
    manifest.write(record, made)
    shutil.rmtree(work)
    return made


def _build(options: Options, recipe: Recipe, work: Path, image: Path) -> dict[str, Any]:
    with step("obtain packages and wheels"):
        parts = obtain(options, recipe, work)
        check_compiler(parts, recipe)
    unpacked, tool, app, root = (work / n for n in ("debs", "tool", "app", "root"))
    with step("unpack"):
        unpack(parts.packages, unpacked)
        unpack(parts.compiler, tool)
        for path in [*(wheel.path for wheel in parts.wheels), parts.service]:
            wheels.unpack(path, app)
        stage.drop(app, recipe.app_drop)
    target = TargetPython(tool, unpacked, recipe.python)
    kernel = next((unpacked / "boot").glob("vmlinuz-*"))
    version = kernel.name.removeprefix("vmlinuz-")
    with step("stage"):
        stage.skeleton(root, recipe.python)
        stage.keep(unpacked, root, recipe.keep_files)
        app_modules = stage.python_files(recipe, target, unpacked, app, root)
        for overlay in recipe.overlays:
            stage.overlay(PROJECT / "overlays" / overlay, root)
        stage.libraries(recipe, unpacked, root)
        python = stage.compile_python(target, root)
        tree = modules.ModuleTree(unpacked / "usr/lib/modules" / version)
        orders = modules.stage(tree, recipe.modules, root)
        _release_file(root, recipe, options.board)
    with step("pack the initramfs"):
        members = [*cpio.entries(root), *cpio.nodes()]
        listing = manifest.file_list(members)
        (options.out / f"{image.stem}.files.txt").write_text(listing)
        archive, initramfs = work / "initrd", work / "initrd.zst"
        with archive.open("wb") as out:
            raw_bytes = cpio.write(iter(members), out, mtime=recipe.epoch)
        compress(archive, initramfs, "-9" if options.is_fast else "-19")
    with step("write the disk image"):
        tree_of_medium, volume = work / "medium", work / "volume"
        serial = medium.lay_out(recipe, unpacked, initramfs, kernel, tree_of_medium, options.site)
        fat.make(
            tree_of_medium,
            volume,
            label=recipe.label,
            serial=serial,
            epoch=recipe.epoch,
            slack=recipe.slack_bytes,
        )
        fresh = image.with_suffix(".img.part")
        mbr.wrap(volume, fresh, signature=serial, start=fat.PARTITION_START)
        fresh.replace(image)  # a half-written image never has the final name
    download = image.with_name(f"{image.name}.zst")
    with step("compress for download"):
        compress(image, download, *(["-3"] if options.is_fast else ["-19", "--long=27"]))
    fetched = [*parts.packages, *parts.compiler]
    service_files = [p for p in (app / "overlay_edge").rglob("*") if p.is_file()]
    return {
        "format": 1,
        "board": options.board,
        "boards": recipe.boards,
        "flavour": "fast" if options.is_fast else "release",
        "locked": all(item.is_locked for item in fetched),
        "kernel": version,
        "python": python,
        "packages": manifest.packages(parts.packages),
        "compiler_packages": manifest.packages(parts.compiler),
        "wheels": manifest.wheels(parts.wheels),
        "service": {
            "wheel": parts.service.name,
            "tree_sha256": digest.of_tree(app, service_files),
        },
        "app_modules": app_modules,
        "kernel_modules": orders,
        "initramfs": {
            "files": len(members),
            "files_sha256": digest.of_file(options.out / f"{image.stem}.files.txt"),
            "raw_size": raw_bytes,
            "size": initramfs.stat().st_size,
            "sha256": digest.of_file(initramfs),
        },
        "image": {
            "name": image.name,
            "size": image.stat().st_size,
            "sha256": digest.of_file(image),
            "volume_id": medium.serial_text(serial),
        },
        "download": {
            "name": download.name,
            "size": download.stat().st_size,
            "sha256": digest.of_file(download),
        },
    }


def _release_file(root: Path, recipe: Recipe, board: str) -> None:
    """Tell the init scripts what only the build knows."""
    path = root / "etc/overlay-edge/build"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"BUILD_BOARD={board}\nBUILD_EPOCH={recipe.epoch}\n")
