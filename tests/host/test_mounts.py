"""The mount table: the longest and last mount counts, and read-only is read-only anywhere."""

import pytest

from overlay_edge.host.mounts import mount_of, read_mounts, where

TABLE = read_mounts(
    r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
28 27 0:25 / /run rw,nosuid shared:2 master:3 - tmpfs tmpfs rw,size=4k,noswap
29 28 254:1 / /run/media rw - vfat /dev/vdb ro
30 27 0:26 / /srv/my\040data ro - tmpfs tmpfs rw
31 27 0:27 / /twice rw - tmpfs tmpfs rw
32 31 254:2 / /twice rw - ext4 /dev/vdc rw
33 27 0:2 / /first rw - rootfs none
garbage
"""
)


@pytest.mark.parametrize(
    ("path", "point", "fs"),
    [
        ("/", "/", "ext4"),
        ("/home/x", "/", "ext4"),
        ("/run", "/run", "tmpfs"),
        ("/run/edge", "/run", "tmpfs"),
        ("/running", "/", "ext4"),
        ("/run/media/stick", "/run/media", "vfat"),
        ("/srv/my data/x", "/srv/my data", "tmpfs"),
        ("/twice/x", "/twice", "ext4"),
    ],
)
def test_a_path_lies_on_the_longest_and_last_mount(path: str, point: str, fs: str) -> None:
    mount = mount_of(path, TABLE)
    assert mount is not None
    assert (mount.point, mount.fs) == (point, fs)
    assert where(mount) == f"on {fs} (mounted at {point})"


def test_an_empty_mount_table_holds_nothing() -> None:
    assert mount_of("/run", read_mounts("")) is None
    assert where(None) == "on no known mount"


def test_ram_is_told_from_a_disk_and_read_only_counts_on_either_side() -> None:
    told = {mount.point: (mount.is_ram, mount.is_writable) for mount in TABLE}
    assert told["/run"] == told["/first"] == (True, True)
    assert told["/run/media"] == (False, False)
    assert told["/srv/my data"] == (True, False)
    assert told["/"] == (False, True)


def test_options_of_the_mount_and_of_its_file_system_are_one_set() -> None:
    mount = mount_of("/run", TABLE)
    assert mount is not None
    assert {"nosuid", "noswap", "size=4k"} <= mount.options
