"""Renews the two lock files: which .debs and which wheels the next images are made of."""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from image import debs, lock, obtain, wheels
from image.errors import DOWNLOAD, ImageError
from image.lock import Deb
from image.options import DEBS_LOCK, PROJECT, WHEELS_LOCK, Options
from image.progress import say
from image.recipe import Recipe, load
from image.run import run

TOOL_ARCHES = ("amd64", "arm64")  # build hosts whose compiler packages are locked as well


def renew(options: Options) -> None:
    """Write both locks from what the archive and the package index offer now."""
    recipe = load(options.board)
    found: list[Deb] = []
    for arch in dict.fromkeys((recipe.arch, *TOOL_ARCHES)):
        archive = obtain.open_archive(options, recipe, arch)
        if arch == recipe.arch:
            names = [recipe.kernel_package, *recipe.root_packages, *recipe.boot_packages]
            found += debs.newest(archive, names, recipe.kernel_package)
        found += debs.newest(archive, recipe.compiler_packages)
    DEBS_LOCK.write_text(lock.render(found))
    say(f"{DEBS_LOCK}: {len(set(found))} packages")
    requirements = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    rows = resolve(requirements["project"]["dependencies"], recipe, options.out)
    WHEELS_LOCK.write_text(
        "# made by `python -m image lock`: wheels for the image, one file each\n" + "".join(rows)
    )
    say(f"{WHEELS_LOCK}: {len(rows)} wheels")


def resolve(dependencies: list[str], recipe: Recipe, out: Path) -> list[str]:
    """Let pip choose the releases for the image's Python and processor."""
    out.mkdir(parents=True, exist_ok=True)
    flags = wheels.target_flags(recipe.wheel_platforms, recipe.python)
    base = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    report = run(
        [
            *base,
            "--dry-run",
            "--ignore-installed",
            "--report=-",
            f"--target={out}",
            *flags,
            *dependencies,
        ]
    )
    return rows(json.loads(report)["install"], dependencies, recipe.python)


def rows(installs: list[dict[str, Any]], dependencies: list[str], python: str) -> list[str]:
    """Lock lines for what is really needed.

    pip judges markers such as `python_version < "3.13"` by the Python it runs on, so the wanted
    packages are walked once more with the image's.
    """
    by_name = {canonicalize_name(item["metadata"]["name"]): item for item in installs}
    environment: dict[str, str] = {key: str(value) for key, value in default_environment().items()}
    environment |= {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    environment |= {"platform_machine": "aarch64", "sys_platform": "linux"}
    environment |= {"platform_system": "Linux", "implementation_name": "cpython"}
    todo = [Requirement(text) for text in dependencies]
    done: dict[str, str] = {}
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        is_wanted = not requirement.marker or requirement.marker.evaluate(environment)
        if name in done or not is_wanted:
            continue
        if name not in by_name:
            hint = f"run this with Python {python}"
            raise ImageError(f"{name}: pip did not resolve it", hint=hint, code=DOWNLOAD)
        item = by_name[name]
        sha256 = item["download_info"]["archive_info"]["hashes"]["sha256"]
        done[name] = f"{name}=={item['metadata']['version']} --hash=sha256:{sha256}\n"
        todo += [Requirement(text) for text in item["metadata"].get("requires_dist", [])]
    return [done[name] for name in sorted(done)]
