import shutil
import struct
from pathlib import Path

import pytest

from image import fat, mbr

NEEDS_TOOLS = pytest.mark.skipif(
    not shutil.which("mcopy"), reason="mtools is not installed: apt-get install mtools dosfstools"
)


def test_the_boot_sector_names_one_active_fat32_partition() -> None:
    sector = mbr.boot_sector(0x11223344, 2048, 70000)
    assert len(sector) == 512
    assert sector[510:] == b"\x55\xaa"
    assert struct.unpack_from("<I", sector, 440) == (0x11223344,)
    assert sector[446:454] == bytes.fromhex("80feffff0cfeffff")
    assert struct.unpack_from("<II", sector, 454) == (2048, 70000)
    assert not any(sector[462:510])


def test_a_small_volume_still_has_enough_clusters_to_be_fat32() -> None:
    sectors = fat.sectors_for([1000], 0)
    fat_sectors = 2 * -(-(fat.MIN_CLUSTERS + 2) * 4 // 512)
    assert sectors - fat.RESERVED_SECTORS - fat_sectors >= 65525


def test_a_volume_grows_with_its_files_and_slack() -> None:
    base = fat.sectors_for([60 << 20], 0)
    assert fat.sectors_for([60 << 20, 513], 0) >= base + 2
    assert fat.sectors_for([60 << 20], 1 << 20) >= base + 2048


def disk(folder: Path, name: str) -> Path:
    tree = folder / f"tree-{name}"
    (tree / "EFI/BOOT").mkdir(parents=True)
    (tree / "EFI/BOOT/BOOTAA64.EFI").write_bytes(b"loader")
    (tree / "a long file name.toml").write_bytes(b"x = 1\n")
    volume, image = folder / f"{name}.fat", folder / f"{name}.img"
    fat.make(tree, volume, label="TEST", serial=0xCAFE1234, epoch=1767225600, slack=1 << 20)
    mbr.wrap(volume, image, signature=1, start=fat.PARTITION_START)
    return image


@NEEDS_TOOLS
@pytest.mark.slow
def test_files_can_be_read_from_the_disk_and_put_there(tmp_path: Path) -> None:
    image = disk(tmp_path, "one")
    fat.read(image, "EFI/BOOT/BOOTAA64.EFI", tmp_path / "loader")
    assert (tmp_path / "loader").read_bytes() == b"loader"
    fat.copy_in(image, tmp_path / "loader", "overlay-edge.toml")
    fat.read(image, "overlay-edge.toml", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"loader"


@NEEDS_TOOLS
@pytest.mark.slow
def test_the_same_tree_gives_the_same_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = disk(tmp_path, "one").read_bytes()
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert disk(tmp_path, "two").read_bytes() == one


@NEEDS_TOOLS
@pytest.mark.slow
def test_the_volume_id_lies_where_the_guest_looks_for_it(tmp_path: Path) -> None:
    image = disk(tmp_path, "one").read_bytes()
    start = fat.PARTITION_START * 512
    assert struct.unpack_from("<I", image, start + 67) == (0xCAFE1234,)
