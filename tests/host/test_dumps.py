"""Core dumps: in a child each, because what is forbidden cannot be allowed again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from overlay_edge.host.dumps import open_ways


def child(code: str) -> "subprocess.CompletedProcess[str]":
    probe = "import os, resource; from overlay_edge.host.dumps import forbid, open_ways\n" + code
    argv = [sys.executable, "-B", "-c", probe]
    return subprocess.run(argv, capture_output=True, text=True)


def test_everything_that_lets_a_dump_through_is_named(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    done = child(
        "import ctypes; ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)\n"
        f"from pathlib import Path; root = Path({str(tmp_path)!r})\n"
        "page = root / 'proc/self/coredump_filter'\n"
        "page.write_text('00000033\\n'); print(open_ways(root)); page.write_text('00000000\\n')\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); print(open_ways(root))"
    )
    first, second = done.stdout.splitlines()
    assert "coredump_filter is 00000033" in first
    assert "the process is dumpable (1)" in first
    assert second == "['the process is dumpable (1)']"


def test_once_forbidden_nothing_is_open() -> None:
    assert child("forbid(); print(open_ways())").stdout == "[]\n"


def test_a_kernel_without_the_page_writes_no_dump_by_it(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    assert not any("coredump_filter" in way for way in open_ways(tmp_path))
    with pytest.raises(FileNotFoundError):
        open_ways(tmp_path / "nothing")


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming somebody else needs root")
def test_a_user_without_rights_still_uses_its_own_memfds_and_pages() -> None:
    done = child(
        "import ctypes, psutil; p = psutil.Process()\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as after the exec that follows in real life\n"
        "fd = os.memfd_create('x'); os.write(fd, b'in RAM'); forbid()\n"
        "print(open(f'/proc/self/fd/{fd}').read(), len(os.listdir('/proc/self/fd')) > 2,\n"
        "      'VmRSS' in open('/proc/self/status').read(), open_ways(),\n"
        "      bool(open('/proc/self/statm').read()), bool(open('/proc/self/mountinfo').read()))\n"
        "print(p.num_fds() > 2, p.memory_info().rss > 0, p.cpu_times().user >= 0)",
    )
    assert done.stdout == "in RAM True True [] True True\nTrue True True\n", done.stderr


def test_a_process_that_dies_of_a_signal_leaves_no_dump(tmp_path: Path) -> None:
    crash = "os.chdir({!r}); {}; os.kill(os.getpid(), 11)"
    assert child(crash.format(str(tmp_path), "forbid()")).returncode == -signal.SIGSEGV
    assert list(tmp_path.iterdir()) == []
