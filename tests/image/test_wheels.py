import zipfile
from pathlib import Path

import pytest

from image import locking, wheels
from image.errors import ImageError

HASH = "cd" * 32


def test_a_pin_is_a_name_a_version_and_hashes() -> None:
    (pin,) = wheels.parse(
        f"# c\nyarl==1.2 \\\n  --hash=sha256:{HASH} \\\n  --hash=sha256:{'0' * 64}\n"
    )
    assert (pin.name, pin.version) == ("yarl", "1.2")
    assert pin.hashes == {HASH, "0" * 64}


@pytest.mark.parametrize("line", ["yarl==1.2", "yarl>=1 --hash=sha256:" + HASH])
def test_an_unpinned_or_unhashed_wheel_is_refused(line: str) -> None:
    with pytest.raises(ImageError, match="yarl"):
        wheels.parse(line)


def wheel(folder: Path, *names: str) -> Path:
    path = folder / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return path


def test_only_what_can_be_imported_is_unpacked(tmp_path: Path) -> None:
    wheels.unpack(wheel(tmp_path, "x/__init__.py", "x-1.dist-info/METADATA"), tmp_path / "app")
    found = [p.relative_to(tmp_path / "app").as_posix() for p in (tmp_path / "app").rglob("*.*")]
    assert found == ["x/__init__.py"]


def test_a_wheel_with_files_for_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="not supported"):
        wheels.unpack(wheel(tmp_path, "x-1.data/purelib/x.py"), tmp_path / "app")


def install(name: str, *requires: str) -> dict[str, object]:
    return {
        "metadata": {"name": name, "version": "1", "requires_dist": list(requires)},
        "download_info": {"archive_info": {"hashes": {"sha256": HASH}}},
    }


def test_the_lock_follows_the_markers_of_the_image_not_of_the_host() -> None:
    installs = [
        install("app", 'old; python_version < "3.13"', "Deep_Name", 'test; extra == "dev"'),
        install("old"),
        install("deep-name"),
    ]
    rows = locking.rows(installs, ["app>=1"], "3.13")
    assert rows == [f"app==1 --hash=sha256:{HASH}\n", f"deep-name==1 --hash=sha256:{HASH}\n"]


def test_what_pip_on_this_python_left_out_is_named() -> None:
    installs = [install("app", 'new; python_version >= "3.13"')]
    with pytest.raises(ImageError, match="new") as caught:
        locking.rows(installs, ["app"], "3.13")
    assert "3.13" in caught.value.hint
