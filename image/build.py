"""Builds one image: the steps in their order, each from folder to folder.

obtain -> unpack -> stage -> compile -> modules -> pack (initramfs) -> FAT -> MBR -> manifest
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from image import (
    cpio,
    digest,
    fat,
    inputs,
    manifest,
    mbr,
    medium,
    modules,
    obtain,
    revision,
    stage,
    wheels,
)
from image.options import PROJECT, Options
from image.progress import say, step
from image.recipe import Recipe, load
from image.run import run
from image.target import TargetPython


def compress(source: Path, target: Path, *flags: str) -> None:
    """Compress with zstd; two workers always, because their number may change the bytes."""
    run(["zstd", "-q", "-f", "-T2", *flags, source, "-o", target])


def build(options: Options) -> dict[str, Any]:
    """Build the image of a board, or find that it is up to date; returns its manifest."""
    with only_one(options.out):
        return _build_if_needed(options)


def _build_if_needed(options: Options) -> dict[str, Any]:
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


@contextmanager
def only_one(out: Path) -> Iterator[None]:
    """Keep a second build out of the same folder until this one is done."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another build in {out}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(options: Options, recipe: Recipe, work: Path, image: Path) -> dict[str, Any]:
    with step("obtain packages and wheels"):
        parts = obtain.everything(options, recipe, work)
        obtain.check_compiler(parts, recipe)
    unpacked, tool, app, root = (work / n for n in ("debs", "tool", "app", "root"))
    with step("unpack"):
        obtain.unpack(parts.packages, unpacked)
        obtain.unpack(parts.compiler, tool)
        for path in [*(wheel.path for wheel in parts.wheels), parts.service]:
            wheels.unpack(path, app)
        stage.drop(app, recipe.app_drop)
        source = revision.of(PROJECT)
        revision.stamp(app / "overlay_edge", source, recipe.epoch)
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
            "revision": source,
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
