"""Media: both keep bytes in RAM, wipe them to the last page, and leave nothing behind."""

import errno
import os
from pathlib import Path

import pytest

from overlay_edge.config import StoreConfig
from overlay_edge.errors import EdgeError, PolicyError
from overlay_edge.store.medium import (
    PREFIX,
    ZEROS,
    Blob,
    Medium,
    MemfdMedium,
    TmpfsMedium,
    open_medium,
)
from tests.support.witness import Witness


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_what_is_appended_is_read_at_any_offset(medium: Medium) -> None:
    blob = medium.create()
    blob.append(b"abc")
    blob.append(b"")
    blob.append(b"defg")
    assert blob.size == 7
    assert [blob.read(0, 7), blob.read(2, 3), blob.read(5, 99), blob.read(7, 1)] == [
        b"abcdefg", b"cde", b"fg", b"",
    ]  # fmt: skip
    blob.wipe()


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, len(ZEROS), 2 * len(ZEROS) + 5])
def test_wiping_leaves_zeros_in_every_page_and_no_descriptor(
    medium: Medium, witness: Witness, size: int
) -> None:
    before = open_fds()
    blob = medium.create()
    blob.append(b"\xaa" * size)
    blob.wipe()
    assert witness.lengths == [size]
    assert blob.is_wiped
    assert open_fds() == before


def test_a_second_descriptor_sees_nothing_after_wiping(medium: Medium) -> None:
    blob = medium.create()
    blob.append(b"secret")
    second = os.open(f"/proc/self/fd/{blob._fd}", os.O_RDONLY)
    try:
        assert os.pread(second, 6, 0) == b"secret"
        blob.wipe()
        assert os.fstat(second).st_size == 0
        assert os.pread(second, 6, 0) == b""
    finally:
        os.close(second)


def test_wiping_twice_is_harmless(medium: Medium, witness: Witness) -> None:
    blob = medium.create()
    blob.append(b"x")
    blob.wipe()
    blob.wipe()
    assert witness.lengths == [1]


def test_a_blob_cut_short_by_somebody_else_is_an_error_not_less_data(medium: Medium) -> None:
    blob = medium.create()
    blob.append(b"abcdef")
    os.ftruncate(blob._fd, 3)
    with pytest.raises(OSError, match="cut short"):
        blob.read(0, 6)
    blob.wipe()


def test_descriptors_are_not_inherited(medium: Medium) -> None:
    blob = medium.create()
    assert not os.get_inheritable(blob._fd)
    blob.wipe()


def test_bytes_that_cannot_be_wiped_break_the_promise_aloud(
    medium: Medium, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(blob: Blob) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    blob = medium.create()
    monkeypatch.setattr(Blob, "overwrite", failing)
    with pytest.raises(PolicyError, match="could not be wiped"):
        blob.wipe()
    assert blob.is_wiped


def test_a_file_on_tmpfs_has_a_name_of_ours_only_while_it_lives(ram_path: Path) -> None:
    medium = TmpfsMedium(str(ram_path))
    blob = medium.create()
    (entry,) = ram_path.iterdir()
    assert entry.name.startswith(PREFIX)
    assert entry.stat().st_mode & 0o777 == 0o600
    blob.wipe()
    assert not list(ram_path.iterdir())
    medium.close()


def test_leftovers_of_a_crash_are_wiped_at_start_and_nothing_else(
    ram_path: Path, witness: Witness
) -> None:
    (ram_path / f"{PREFIX}7").write_bytes(b"left" * 5000)
    (ram_path / f"{PREFIX}8").write_bytes(b"")
    kept = [ram_path / "notes.txt", ram_path / f"{PREFIX}x", ram_path / f"{PREFIX}9"]
    kept[0].write_bytes(b"mine")
    kept[1].write_bytes(b"mine")
    kept[2].symlink_to(kept[0])
    medium = TmpfsMedium(str(ram_path))
    assert medium.leftovers == 2
    assert sorted(witness.lengths) == [0, 20_000]
    assert sorted(ram_path.iterdir()) == sorted(kept)
    assert kept[0].read_bytes() == b"mine"
    medium.close()


def test_a_foreign_file_in_the_way_is_neither_used_nor_wiped(ram_path: Path) -> None:
    medium = TmpfsMedium(str(ram_path))
    foreign = ram_path / f"{PREFIX}1"
    foreign.write_bytes(b"mine")
    blob = medium.create()
    blob.append(b"ours")
    blob.wipe()
    assert foreign.read_bytes() == b"mine"
    medium.close()


def test_two_edges_do_not_share_a_directory(ram_path: Path) -> None:
    before = open_fds()
    first = TmpfsMedium(str(ram_path))
    with pytest.raises(EdgeError, match="in use by another edge"):
        TmpfsMedium(str(ram_path))
    first.close()
    TmpfsMedium(str(ram_path)).close()
    assert open_fds() == before


def test_a_directory_that_is_not_ram_is_refused() -> None:
    with pytest.raises(PolicyError, match="expected tmpfs"):
        TmpfsMedium("/proc")


def test_the_config_says_which_medium(ram_path: Path) -> None:
    assert isinstance(open_medium(StoreConfig()), MemfdMedium)
    medium = open_medium(StoreConfig(path=str(ram_path)), max_blobs=9)
    assert isinstance(medium, TmpfsMedium)
    assert medium.max_blobs == 9
    medium.close()
