from pathlib import Path

import pytest

from image import medium
from image.errors import USAGE, ImageError
from image.recipe import load


def test_the_volume_id_follows_the_contents(tmp_path: Path) -> None:
    kernel, one, two = (tmp_path / name for name in ("k", "1", "2"))
    for path in (kernel, one, two):
        path.write_text(path.name)
    assert medium.volume_serial(kernel, one) == medium.volume_serial(kernel, one)
    assert medium.volume_serial(kernel, one) != medium.volume_serial(kernel, two)


def test_the_command_line_names_the_medium_in_one_line() -> None:
    line = medium.command_line(load("virt"), "console=x", 0x0A1B2C3D)
    assert line.endswith("console=x overlay.medium=0A1B-2C3D")
    assert "\n" not in line


def test_a_site_file_that_is_too_long_is_refused(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_bytes(b"#" * (medium.MAX_SITE_BYTES + 1))
    with pytest.raises(ImageError, match="65537 bytes, expected at most 65536") as caught:
        medium.check_site(site)
    assert caught.value.code == USAGE


def test_a_site_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        medium.check_site(tmp_path / "none.toml")


def test_a_site_file_with_a_mistake_is_only_pointed_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = tmp_path / "site.toml"
    site.write_text("[oap\n")
    medium.check_site(site)
    assert "WARNING" in capsys.readouterr().err
