"""The clock: one never goes back, one may be wrong."""

from overlay_edge.host import clock


def test_the_monotonic_clock_never_goes_back() -> None:
    readings = [clock.monotonic() for _ in range(100)]
    assert readings == sorted(readings)


def test_the_wall_clock_counts_from_1970() -> None:
    assert clock.wall() > 0
