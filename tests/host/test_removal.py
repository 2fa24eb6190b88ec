"""Is the medium there: by the kernel's own list, in a folder made for the test."""

from pathlib import Path

from overlay_edge.host.removal import is_there


def test_a_device_is_there_while_the_kernel_shows_it(tmp_path: Path) -> None:
    (tmp_path / "mmcblk0").symlink_to("../../devices/somewhere/block/mmcblk0")  # as in sysfs
    assert is_there("mmcblk0", tmp_path)
    assert not is_there("mmcblk1", tmp_path)
    (tmp_path / "mmcblk0").unlink()
    assert not is_there("mmcblk0", tmp_path)


def test_a_machine_without_that_list_has_no_device(tmp_path: Path) -> None:
    assert not is_there("mmcblk0", tmp_path / "none")
