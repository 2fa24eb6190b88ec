"""The soak in a seconds-long form: every phase runs to its end and finds nothing."""

import subprocess
import sys

import pytest

from tests.soak import churn, crowd, downstream, fuzz, hoard, overload, storm
from tests.soak.report import TINY, Report, table


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "phase", [crowd, hoard, churn, overload, storm, fuzz, downstream], ids=lambda p: p.__name__
)
def test_a_little_of_each_phase_holds(phase: object) -> None:
    report: Report = phase.run(TINY)  # type: ignore[attr-defined]
    if report.skipped:
        pytest.skip(report.skipped)
    assert report.verdicts
    assert report.holds, table([report])


@pytest.mark.slow
def test_an_unknown_phase_is_a_mistake_in_usage() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", "cloud"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "cloud: expected crowd, hostile" in done.stderr


def test_one_verdict_that_does_not_hold_fails_the_phase() -> None:
    report = Report("phase")
    report.most("bytes", 1, 2)
    assert report.holds
    report.least("sessions", 9, 10)
    assert not report.holds
    assert "FAIL  phase (0 s)  sessions  9   (at least 10)" in table([report])
