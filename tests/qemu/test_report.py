import json

import pytest

from qemu.report import Report


def test_a_report_without_checks_has_not_passed() -> None:
    assert not Report().is_ok


def test_one_failure_fails_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    report.check("fine", True, "1 s")
    assert report.is_ok
    report.check("broken", False, "why")
    assert not report.is_ok
    assert report.summary() == "1 passed, 1 failed"
    assert "FAIL  broken  (why)" in capsys.readouterr().out


def test_machines_read_the_same_report(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(figures={"boot_s": 12.5})
    report.check("fine", True)
    found = json.loads(report.to_json())
    assert found["ok"] is True
    assert found["figures"] == {"boot_s": 12.5}
    assert found["checks"] == [{"name": "fine", "is_ok": True, "detail": ""}]
    assert capsys.readouterr().out == "ok    fine\n"
