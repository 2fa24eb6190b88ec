"""`ronctl sim`: a run from the command line, its report and its picture."""

import json
from pathlib import Path

import pytest

from overlay_edge.ctl.main import main
from overlay_edge.ctl.sim import Meter

SMALL = ["sim", "--nodes", "8", "--messages", "5"]


def test_a_run_is_reported_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SMALL) == 0
    text = capsys.readouterr().out
    assert "delivered   40 of 40 (100.000 %)" in text
    assert "unaccounted for 0" in text
    assert "deliveries  |" in text


def test_a_run_is_reported_as_json_and_the_seed_makes_it_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = []
    for _ in range(2):
        assert main([*SMALL, "--seed", "7", "--drop", "10%", "--crash", "50%", "--json"]) == 0
        told.append(json.loads(capsys.readouterr().out))
        del told[-1]["took_s"]
    assert told[0] == told[1]
    assert (told[0]["nodes"], told[0]["live"], told[0]["unaccounted"]) == (8, 4, 0)
    assert told[0]["counts"]["held_bytes"] > 0


def test_a_picture_is_written_where_it_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.svg"
    assert main([*SMALL, "--svg", str(file)]) == 0
    assert file.read_text().startswith("<svg ")
    assert str(file) in capsys.readouterr().out


def test_a_place_that_cannot_be_written_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SMALL, "--svg", str(tmp_path / "no" / "run.svg")]) == 1
    assert "No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--nodes", "1"], "expected 2 to 20000"),
        (["--messages", "x"], "expected 1 to 100000"),
        (["--drop", "100%"], "expected a share such as 10%, below 100%"),
        (["--crash", "half"], "expected a share"),
        (["--size", "70000"], "expected 1 to 65536"),
        (["--latency", "50-10"], "expected milliseconds such as 10-50"),
        (["--latency", "x"], "expected milliseconds"),
        (["--interval", "-1"], "expected 0 to 3600 seconds"),
        (["--senders", "all"], "invalid choice"),
    ],
)
def test_a_wrong_argument_is_usage(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["sim", *words])
    assert ended.value.code == 2
    assert why in capsys.readouterr().err


def test_one_latency_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            [
                *SMALL,
                "--latency",
                "5ms",
                "--senders",
                "burst",
                "--partition",
                "3s",
                "--notice",
                "9s",
            ]
        )
        == 0
    )
    assert "senders burst" in capsys.readouterr().out


def test_the_meter_draws_only_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    meter = Meter()
    meter("joining", 0.5)
    meter.end()
    assert capsys.readouterr().err == ""
    meter._next = 0.0
    meter("joining", 0.5)
    meter.end()
    assert "joining" in capsys.readouterr().err
