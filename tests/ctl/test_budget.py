"""`ronctl budget`: the sum, for each board, and a config that is over it."""

import json
from pathlib import Path

import pytest

from overlay_edge.config import PROFILES
from overlay_edge.ctl.main import main


@pytest.mark.parametrize("profile", PROFILES)
def test_every_boards_worst_case_fits_and_adds_up(
    profile: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["budget", "--profile", profile, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["fits"] is True
    assert told["sum_bytes"] == sum(r["number"] * r["each_bytes"] for r in told["rows"])
    assert told["sum_bytes"] <= told["budget_bytes"]


def test_a_config_over_its_budget_is_shown_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "big.toml"
    file.write_text('memory_budget = "128MiB"\n')
    assert main(["budget", str(file), "--profile", "generic"]) == 1
    text = capsys.readouterr().out
    assert "DOES NOT FIT" in text
    assert "128.0 MiB" in text


def test_config_check_refuses_what_does_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "big.toml"
    file.write_text('memory_budget = "128MiB"\n')
    assert main(["config", "check", str(file), "--profile", "generic"]) == 2
    assert "memory_budget: 128MiB, expected at least" in capsys.readouterr().err
