import hashlib
from pathlib import Path
from typing import cast

import pytest

from image import debs
from image.archive import Archive
from image.errors import DOWNLOAD, ImageError
from image.lock import Deb


def deb(name: str, version: str, arch: str = "arm64") -> Deb:
    content = f"{name} {version}".encode()
    return Deb(name, arch, version, len(content), hashlib.sha256(content).hexdigest())


class ShelfArchive:
    """Offers packages from a list, newest first, and writes their contents like apt would."""

    def __init__(self, *shelf: Deb, depends: str = "") -> None:
        self.shelf = shelf
        self.text = depends
        self.fetched: list[Deb] = []

    def versions(self, names: list[str]) -> dict[str, list[Deb]]:
        return {n: [d for d in self.shelf if d.name == n] for n in names if self._has(n)}

    def _has(self, name: str) -> bool:
        return any(d.name == name for d in self.shelf)

    def depends(self, name: str) -> str:
        return self.text

    def fetch(self, wanted: list[Deb], folder: Path) -> None:
        self.fetched += wanted
        for item in wanted:
            (folder / item.file_name).write_bytes(f"{item.name} {item.version}".encode())


def obtain(
    names: list[str],
    locked: list[Deb],
    archive: ShelfArchive,
    cache: Path,
    *,
    meta: str = "",
    strict: bool = False,
) -> list[debs.Fetched]:
    return debs.obtain(
        names,
        locked,
        arch="arm64",
        meta=meta,
        cache=cache,
        open_archive=lambda: cast(Archive, archive),
        must_be_locked=strict,
    )


def test_the_locked_version_is_taken_though_there_is_a_newer_one(tmp_path: Path) -> None:
    archive = ShelfArchive(deb("zlib", "2"), deb("zlib", "1"))
    (found,) = obtain(["zlib"], [deb("zlib", "1")], archive, tmp_path)
    assert (found.deb.version, found.is_locked) == ("1", True)


def test_a_full_cache_needs_no_archive(tmp_path: Path) -> None:
    locked = [deb("zlib", "1")]
    obtain(["zlib"], locked, ShelfArchive(*locked), tmp_path)
    offline = ShelfArchive()
    assert obtain(["zlib"], locked, offline, tmp_path)[0].is_locked
    assert not offline.fetched


def test_a_damaged_download_is_fetched_again(tmp_path: Path) -> None:
    locked = [deb("zlib", "1")]
    (tmp_path / locked[0].file_name).write_bytes(b"damaged")
    archive = ShelfArchive(*locked)
    obtain(["zlib"], locked, archive, tmp_path)
    assert archive.fetched == locked


def test_a_version_that_is_gone_is_replaced_and_said_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = ShelfArchive(deb("zlib", "2"))
    (found,) = obtain(["zlib"], [deb("zlib", "1")], archive, tmp_path)
    assert (found.deb.version, found.is_locked) == ("2", False)
    assert "NOT LOCKED" in capsys.readouterr().err


def test_a_strict_build_refuses_what_is_not_locked(tmp_path: Path) -> None:
    archive = ShelfArchive(deb("zlib", "2"))
    with pytest.raises(ImageError, match="not in the archive any more") as caught:
        obtain(["zlib"], [deb("zlib", "1")], archive, tmp_path, strict=True)
    assert caught.value.code == DOWNLOAD


def test_the_same_version_with_another_hash_is_not_the_locked_one(tmp_path: Path) -> None:
    other = Deb("zlib", "arm64", "1", 6, "00" * 32)
    archive = ShelfArchive(deb("zlib", "1"))
    assert not obtain(["zlib"], [other], archive, tmp_path)[0].is_locked


def test_what_arrives_damaged_is_refused(tmp_path: Path) -> None:
    liar = Deb("zlib", "arm64", "1", 6, "00" * 32)
    with pytest.raises(ImageError, match="does not match"):
        obtain(["zlib"], [liar], ShelfArchive(liar), tmp_path)


def test_the_meta_package_stands_for_the_locked_kernel(tmp_path: Path) -> None:
    kernel = deb("linux-image-6.12.1+deb13-arm64", "6.12.1-1")
    (found,) = obtain(
        ["linux-image-arm64"], [kernel], ShelfArchive(kernel), tmp_path, meta="linux-image-arm64"
    )
    assert found.deb == kernel


def test_a_kernel_that_is_gone_is_found_through_the_meta_package(tmp_path: Path) -> None:
    old = deb("linux-image-6.12.1+deb13-arm64", "6.12.1-1")
    new = deb("linux-image-6.12.2+deb13-arm64", "6.12.2-1")
    archive = ShelfArchive(new, depends=f"{new.name} (= 6.12.2-1), other")
    (found,) = obtain(["linux-image-arm64"], [old], archive, tmp_path, meta="linux-image-arm64")
    assert (found.deb, found.is_locked) == (new, False)


def test_lines_of_other_architectures_do_not_count(tmp_path: Path) -> None:
    archive = ShelfArchive(deb("zlib", "1"))
    locked = [deb("zlib", "9", arch="amd64"), deb("zlib", "1")]
    assert obtain(["zlib"], locked, archive, tmp_path)[0].deb == locked[1]
