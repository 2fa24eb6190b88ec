"""The probe tells an allocator that overwrites from one that does not."""

import os
import subprocess
import sys

import pytest

from overlay_edge.host.residue import EACH, SIZES, measure

PROBE = "from overlay_edge.host.residue import measure; print(*(r.readable for r in measure()))"
PERTURB = "glibc.malloc.perturb=165"
CACHES_OFF = "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0"
glibc = pytest.mark.skipif(
    "CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="only glibc knows these tunables"
)


def readable(**environ: str) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-B", "-c", PROBE],
        env={"PATH": os.environ.get("PATH", ""), **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(count) for count in done.stdout.split()]


def test_most_of_what_pythons_own_allocator_frees_can_be_read() -> None:
    assert all(count > EACH // 2 for count in readable(PYTHONMALLOC="pymalloc"))


@glibc
def test_what_a_threads_cache_holds_is_not_overwritten() -> None:
    small, middle, large = readable(PYTHONMALLOC="malloc", GLIBC_TUNABLES=PERTURB)
    assert small > 0
    assert middle > 0
    assert large == 0


@glibc
def test_without_caches_nothing_can_be_read() -> None:
    tunables = f"{PERTURB}:{CACHES_OFF}"
    assert readable(PYTHONMALLOC="malloc", GLIBC_TUNABLES=tunables) == [0] * len(SIZES)


def test_looking_holds_no_descriptor_and_no_memory_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        assert [(found.size, found.freed) for found in measure()] == [(s, EACH) for s in SIZES]
    assert len(os.listdir("/proc/self/fd")) == before
