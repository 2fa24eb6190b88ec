from pathlib import Path

import pytest

from image import mirror
from image.errors import ImageError
from image.mirror import Mirror, choose, deb822_sources, one_line_sources

DEB822 = """\
# comment
Types: deb deb-src
URIs: http://mirror.test/debian/
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.test/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


def test_a_debian_host_lends_its_own_archives() -> None:
    chosen = choose(deb822_sources(DEB822))
    assert chosen == Mirror("http://mirror.test/debian", "http://mirror.test/debian-security")


def test_the_old_format_is_read_too() -> None:
    text = """
    deb-src http://a.test/debian trixie main
    deb [arch=amd64 signed-by=/k/debian-archive-keyring.gpg] http://b.test/d trixie main  # x
    deb http://c.test/debian-security bullseye/updates main
    """
    assert choose(one_line_sources(text)) == Mirror(
        "http://b.test/d", "http://c.test/debian-security"
    )


@pytest.mark.parametrize(
    "line",
    [
        "deb http://archive.test/ubuntu noble main",
        "deb http://docker.test/linux/debian bookworm stable",
        "deb [signed-by=/etc/apt/keyrings/x.gpg] http://vendor.test/debian bookworm main",
        "deb http://vendor.test/apt stable main",
        "deb cdrom:[Debian]/ bookworm main",
        "# deb http://mirror.test/debian bookworm main",
    ],
)
def test_other_repositories_are_passed_over(line: str) -> None:
    assert choose(one_line_sources(line)) is None


def test_a_disabled_stanza_does_not_count() -> None:
    assert (
        choose(deb822_sources("Enabled: no\n" + DEB822.split("\n", 1)[1].split("\n\n")[0])) is None
    )


def test_the_environment_wins_over_the_host(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text("deb http://mirror.test/debian bookworm main\n")
    environ = {"MIRROR": "http://mine.test/debian/", "SECURITY_MIRROR": "http://mine.test/sec"}
    assert mirror.find(environ, etc=tmp_path) == Mirror(
        "http://mine.test/debian", "http://mine.test/sec"
    )
    assert mirror.find({}, etc=tmp_path).main == "http://mirror.test/debian"
    assert mirror.find(environ, flag="http://flag.test", etc=tmp_path).main == "http://flag.test"


def test_a_host_without_any_archive_hears_how_to_name_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "debootstrap_default", lambda: "")
    with pytest.raises(ImageError) as caught:
        mirror.find({}, etc=tmp_path)
    assert "MIRROR=" in caught.value.hint


def test_debootstrap_lends_its_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "debootstrap"
    script.write_text('#!/bin/sh\nDEF_MIRROR="http://default.test/debian"\n')
    monkeypatch.setattr("shutil.which", lambda name, path: str(script))
    assert mirror.find({}, etc=tmp_path).main == "http://default.test/debian"
