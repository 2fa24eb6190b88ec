import io
from pathlib import Path

from image import cpio
from tests.image import archive_reader


def written(members: list[cpio.Entry]) -> bytes:
    out = io.BytesIO()
    cpio.write(iter(members), out, mtime=1000)
    return out.getvalue()


def sample(root: Path) -> Path:
    (root / "etc").mkdir()
    (root / "etc/plain").write_bytes(b"abc")
    (root / "etc/script").write_bytes(b"#!/bin/sh\n")
    (root / "etc/script").chmod(0o700)
    (root / "link").symlink_to("etc/plain")
    (root / "tmp").mkdir()
    return root


def test_what_is_written_can_be_read_back(tmp_path: Path) -> None:
    found = archive_reader.read(written(list(cpio.entries(sample(tmp_path)))))
    by_name = {member.name: member for member in found}
    assert list(by_name) == ["etc", "etc/plain", "etc/script", "link", "tmp"]
    assert by_name["etc/plain"].data == b"abc"
    assert by_name["link"].data == b"etc/plain"


def test_modes_come_from_the_exec_bit_alone(tmp_path: Path) -> None:
    found = archive_reader.read(written(list(cpio.entries(sample(tmp_path)))))
    modes = {member.name: member.mode & 0o7777 for member in found}
    assert modes["etc/plain"] == 0o644
    assert modes["etc/script"] == 0o755
    assert modes["tmp"] == 0o1777


def test_everything_belongs_to_root_and_has_the_given_time(tmp_path: Path) -> None:
    found = archive_reader.read(written(list(cpio.entries(sample(tmp_path)))))
    assert {member.owner for member in found} == {(0, 0)}
    assert {member.mtime for member in found} == {1000}


def test_device_nodes_need_no_root() -> None:
    console, null = archive_reader.read(written(list(cpio.nodes())))
    assert (console.name, console.mode, console.device) == ("dev/console", 0o020600, (5, 1))
    assert (null.name, null.mode, null.device) == ("dev/null", 0o020666, (1, 3))


def test_an_archive_ends_on_a_block(tmp_path: Path) -> None:
    assert len(written(list(cpio.entries(sample(tmp_path))))) % 512 == 0


def test_parents_come_before_their_children(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/z").touch()
    (tmp_path / "a.b").touch()  # sorts before "a/z" as text
    assert [entry.name for entry in cpio.entries(tmp_path)] == ["a", "a/z", "a.b"]
