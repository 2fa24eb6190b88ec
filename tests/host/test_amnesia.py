"""The RAM-only promise: what is on a disk is refused, what needs a path gets a memfd."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from overlay_edge.errors import PolicyError
from overlay_edge.host.amnesia import (
    Mount,
    memfd,
    memfd_path,
    mount_of,
    raise_fd_limit,
    require_ram,
)

TABLE = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
28 27 0:25 / /run rw,nosuid shared:2 master:3 - tmpfs tmpfs rw,size=4k
29 28 254:1 / /run/media rw - vfat /dev/vdb rw
30 27 0:26 / /srv/my\040data rw - tmpfs tmpfs rw
31 27 0:27 / /twice rw - tmpfs tmpfs rw
32 31 254:2 / /twice rw - ext4 /dev/vdc rw
garbage
"""


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/", Mount("/", "ext4")),
        ("/home/x", Mount("/", "ext4")),
        ("/run", Mount("/run", "tmpfs")),
        ("/run/edge", Mount("/run", "tmpfs")),
        ("/running", Mount("/", "ext4")),
        ("/run/media/stick", Mount("/run/media", "vfat")),
        ("/srv/my data/x", Mount("/srv/my data", "tmpfs")),
        ("/twice/x", Mount("/twice", "ext4")),
    ],
)
def test_a_path_lies_on_the_longest_and_last_mount(path: str, mount: Mount) -> None:
    assert mount_of(path, TABLE) == mount


def test_an_empty_mount_table_holds_nothing() -> None:
    assert mount_of("/run", "") is None


def test_a_tmpfs_directory_is_ram() -> None:
    assert require_ram("/dev/shm") == os.path.realpath("/dev/shm")  # noqa: S108


def test_what_is_not_ram_is_refused_and_says_what_it_is() -> None:
    with pytest.raises(PolicyError, match=r"^/proc/self/fd: on proc .*expected tmpfs") as caught:
        require_ram("/proc/self/fd")
    assert "store.path" in caught.value.hint


def test_a_link_out_of_ram_is_followed_and_refused(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/proc/sys")
    with pytest.raises(PolicyError, match="on proc"):
        require_ram(str(link))


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no such directory"):
        require_ram(str(tmp_path / "missing"))


def test_a_file_is_no_directory() -> None:
    with pytest.raises(PolicyError, match="no such directory"):
        require_ram(__file__)


def test_a_memfd_is_read_by_its_path_and_not_inherited() -> None:
    fd = memfd("key", b"secret" * 1000)
    try:
        assert Path(memfd_path(fd)).read_bytes() == b"secret" * 1000
        assert not os.get_inheritable(fd)
        assert os.read(fd, 6) == b"secret"
    finally:
        os.close(fd)


def test_the_descriptor_limit_is_never_lowered() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        limit = raise_fd_limit()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert hard == before[1]
        assert soft == resource.RLIM_INFINITY or soft >= limit >= 256
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_low_soft_limit_is_raised_to_the_hard_one() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        assert raise_fd_limit() > 256
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_core_dumps_are_forbidden() -> None:
    probe = (  # in a child: a lowered hard limit cannot be given back
        "import resource; from overlay_edge.host.amnesia import limit_core_dumps;"
        "limit_core_dumps(); print(resource.getrlimit(resource.RLIMIT_CORE))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "(0, 0)\n"
