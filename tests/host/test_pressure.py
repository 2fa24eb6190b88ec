"""Pressure: what the kernel says, also when it says nothing."""

import errno
import os
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.host.pressure import (
    LAG_LIMIT_S,
    WINDOW,
    LagProbe,
    Pressure,
    memory_stall,
    open_fds,
    percentile,
    resident_bytes,
)

MODULE = "overlay_edge.host.pressure"
MIB = 1 << 20
PSI = "some avg10=12.50 avg60=3.00 avg300=0.10 total=12\nfull avg10=1.00 avg60=0 total=1\n"


def beats(probe: LagProbe, lags: list[float]) -> None:
    now = 0.0
    probe.beat(now=now)
    for lag in lags:
        now += 0.25 + lag
        probe.beat(now=now)


def test_a_loop_that_is_on_time_has_no_lag() -> None:
    probe = LagProbe()
    assert probe.p95_s == 0.0
    beats(probe, [0.0] * 30)
    assert probe.p95_s == pytest.approx(0.0)


def test_one_hiccup_is_forgiven_and_two_are_not() -> None:
    once, twice = LagProbe(), LagProbe()
    beats(once, [0.0] * 10 + [3.0] + [0.0] * 5)
    beats(twice, [0.0] * 10 + [3.0, 2.0] + [0.0] * 5)
    assert once.p95_s == pytest.approx(0.0)
    assert twice.p95_s == pytest.approx(2.0)


def test_what_is_older_than_the_window_is_forgotten() -> None:
    probe = LagProbe()
    beats(probe, [1.0] * 10 + [0.0] * WINDOW)
    assert probe.p95_s == pytest.approx(0.0)


def test_a_timer_that_comes_early_is_no_negative_lag() -> None:
    probe = LagProbe()
    beats(probe, [-0.2] * 5)
    assert probe.p95_s == 0.0


@given(st.lists(st.floats(0, 100), min_size=2), st.floats(0.01, 1))
def test_a_percentile_is_one_of_the_values_and_not_the_single_largest(
    values: list[float], share: float
) -> None:
    found = percentile(values, share)
    assert found in values
    assert found <= sorted(values)[-2]


def test_this_process_holds_memory_and_descriptors() -> None:
    held, opened = resident_bytes(), open_fds(most=1000)
    assert held is not None
    assert opened is not None
    assert held > MIB
    assert 2 < opened < 1000
    more = [os.memfd_create("more") for _ in range(10)]
    try:
        assert open_fds(most=1000) == opened + 10
    finally:
        for fd in more:
            os.close(fd)


def test_stall_is_the_share_of_the_last_ten_seconds(tmp_path: Path) -> None:
    (tmp_path / "pressure").mkdir()
    page = tmp_path / "pressure/memory"
    page.write_text(PSI)
    assert memory_stall(tmp_path) == pytest.approx(0.125)


@pytest.mark.parametrize(
    "text", ["", "\n", "full avg10=1.00", "some", "some avg10=", "some avg10=nan", "some avg10=900"]
)
def test_a_page_in_another_shape_is_no_reading(tmp_path: Path, text: str) -> None:
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure/memory").write_text(text.strip("\n"))
    assert memory_stall(tmp_path) is None


def test_a_machine_that_says_nothing_is_asked_for_nothing_more(tmp_path: Path) -> None:
    readings = Pressure(memory_bytes=MIB, proc=tmp_path).beat(now=0.0)
    assert readings == [("loop_lag", 0.0, LAG_LIMIT_S)]


class OldKernel:
    """What ``stat`` of a folder in /proc said before Linux 6.2."""

    st_size = 0


def test_an_old_kernel_counts_descriptors_by_listing_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "self/fd").mkdir(parents=True)
    for number in range(7):
        (tmp_path / f"self/fd/{number}").touch()
    with monkeypatch.context() as patch:
        patch.setattr(f"{MODULE}.os.stat", lambda path: OldKernel())
        assert open_fds(tmp_path, most=100) == 7


def test_a_process_out_of_descriptors_cannot_count_them_and_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def out_of_files(path: object) -> list[str]:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(f"{MODULE}.os.stat", lambda path: OldKernel())
        patch.setattr(f"{MODULE}.os.listdir", out_of_files)
        assert open_fds(most=100) == 100


def test_every_reading_has_a_limit_above_nothing() -> None:
    probe = Pressure(memory_bytes=512 * MIB)
    probe.beat(now=0.0)
    readings = {reading.name: reading for reading in probe.beat(now=0.5)}
    assert {"loop_lag", "memory", "fds"} <= set(readings)
    assert all(reading.limit > 0 <= reading.value for reading in readings.values())
    assert readings["memory"].limit == 512 * MIB
    assert readings["fds"].limit == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_a_process_without_a_limit_on_descriptors_has_none_to_be_near(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(f"{MODULE}.resource.getrlimit", lambda which: unlimited)
    assert "fds" not in {r.name for r in Pressure(memory_bytes=MIB).beat(now=0.0)}
