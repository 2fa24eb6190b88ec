"""Files of secrets: new, their owner's only, and never repeated."""

import os
import stat
from pathlib import Path

import pytest

from overlay_edge.ctl.keyfile import Stored, cap_text, new_key, read_cap, read_key, write_cap
from overlay_edge.errors import ConfigError, EdgeError, IdentityError
from overlay_edge.proto.capability import Capability

PLANTED = Stored(Capability(b"planted-token"), b"p" * 32)


def test_a_key_is_its_owners_only_and_read_back(tmp_path: Path) -> None:
    path = str(tmp_path / "site.key")
    made = new_key(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert read_key("--key", path).private_bytes_raw() == made.private_bytes_raw()


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "site.key").write_text("precious")
    with pytest.raises(ConfigError, match="exists"):
        new_key(str(tmp_path / "site.key"))
    assert (tmp_path / "site.key").read_text() == "precious"


def test_what_others_may_read_is_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    new_key(str(path))
    path.chmod(0o640)
    with pytest.raises(IdentityError, match="mode 0640"):
        read_key("--key", str(path))
    path.chmod(0o604)
    with pytest.raises(IdentityError, match="mode 0604"):
        read_cap("--cap", str(path))


def test_a_capability_is_kept_with_the_key_of_its_site(tmp_path: Path) -> None:
    path = str(tmp_path / "x.cap")
    write_cap(path, PLANTED)
    assert read_cap("--cap", path) == PLANTED
    (tmp_path / "bare.cap").touch(0o600)
    (tmp_path / "bare.cap").write_text(cap_text(PLANTED.cap))
    assert read_cap("--cap", str(tmp_path / "bare.cap")) == Stored(PLANTED.cap, b"")


@pytest.mark.parametrize(
    "text", ["", "  \n", "###", "Q", "-----BEGIN PRIVATE KEY", "planted-\xff", "A" * 9000]
)
def test_what_is_neither_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file"
    path.touch(0o600)
    path.write_text(text)
    for read in (read_cap, read_key):
        with pytest.raises(EdgeError) as caught:
            read("--x", str(path))
        assert not text.strip() or text not in str(caught.value)


def test_printing_a_stored_capability_gives_its_fingerprint() -> None:
    assert "planted" not in repr(PLANTED)
    assert PLANTED.cap.fingerprint in repr(PLANTED)
