"""The short form of the proof: three classes, three exits, one planted leak; two starts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.qemu.test_boot import PROJECT, built, why_not
from tests.support.mosquitto import MISSING, MOSQUITTO

__all__ = ["built"]  # a fixture: the image is built once for all
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
    pytest.mark.skipif(not MOSQUITTO, reason=MISSING),
]


def test_what_was_planted_is_gone_from_all_memory_and_a_planted_leak_is_caught(
    built: Path, tmp_path: Path
) -> None:
    evidence = tmp_path / "evidence.json"
    argv = [sys.executable, "-m", "tests.prove", "--short", "--image", str(built)]
    done = subprocess.run(
        [*argv, "--evidence", str(evidence)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(evidence.read_text())
    assert found["holds"] is True
    assert [trial["exit"] for trial in found["exits"]] == ["purge", "crash", "power-off"]
    for trial in found["exits"]:
        for cell in trial["cells"]:
            assert cell["before"] > 0
            assert not (cell["must_go"] and cell["after"])
    assert [leak["holds"] for leak in found["leaks"]] == [True]
