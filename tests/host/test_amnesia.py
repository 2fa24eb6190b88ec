"""The RAM-only promise: what is on a disk is refused, what needs a path gets a memfd."""

import os
import resource
from pathlib import Path

import pytest

from overlay_edge.errors import PolicyError
from overlay_edge.host.amnesia import (
    memfd,
    memfd_path,
    raise_fd_limit,
    require_ram,
)


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
