"""Results for people and for programs."""

import json

import pytest

from overlay_edge.ctl.output import complain, emit, size, wiped
from overlay_edge.errors import ConfigError, PeerViolation, Refused


def test_a_result_is_lines_or_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    emit(False, {"size": 3}, "three", "bytes")
    emit(True, {"size": 3}, "three", "bytes")
    assert capsys.readouterr().out == 'three\nbytes\n{"size": 3}\n'


def test_what_a_node_refused_keeps_its_token_and_code(capsys: pytest.CaptureFixture[str]) -> None:
    complain(Refused(503, "busy", "full", retry_after_ms=250), as_json=True)
    complain(ConfigError(["a: x", "b: y"]), as_json=True)
    complain(PeerViolation("BadFlags", "bits"), as_json=True)
    busy, config, frame = map(json.loads, capsys.readouterr().err.splitlines())
    assert busy == {"error": "busy", "message": "full", "code": 503, "retry_after_ms": 250}
    assert config["mistakes"] == ["a: x", "b: y"]
    assert frame["error"] == "BadFlags"


def test_words_of_a_node_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    complain(Refused(400, "x", "\x1b]0;owned\x07"), as_json=False)
    assert capsys.readouterr().err == "error: \\x1b]0;owned\\x07\n"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (4 << 20, "4.0 MiB"), (3 << 30, "3.0 GiB")],
)
def test_sizes_are_for_people(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "0 objects wiped, 0 B"),
        ({"objects": 1, "bytes": 2048}, "1 object wiped, 2.0 KiB"),
        ({"objects": 2, "uploads": 1, "bytes": 5}, "2 objects and 1 upload wiped, 5 B"),
        (
            {"objects": 0, "uploads": 2, "bytes": 5, "sessions": 1},
            "0 objects and 2 uploads wiped, 5 B; 1 session ended",
        ),
        ({"objects": "many", "bytes": None}, "0 objects wiped, 0 B"),
    ],
)
def test_what_was_wiped_is_told_in_one_line(fields: dict[str, object], told: str) -> None:
    assert wiped(fields) == told
