"""Checking a file before a node has to."""

from pathlib import Path

import pytest

from overlay_edge.config import DEFAULTS, apply_profile, parse
from overlay_edge.host.board import profile_text
from tests.ctl.conftest import Ronctl


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "edge.toml"


def test_a_good_file_is_fine_and_says_what_its_board_lowers(ronctl: Ronctl, toml: Path) -> None:
    toml.write_text("[transport]\nmax_conns = 65536\n")
    done = ronctl("config", "check", str(toml), "--profile", "zero2w")
    first, *lowered = done.out.splitlines()
    assert (done.code, first) == (0, f"{toml}: ok, profile zero2w")
    assert any(line.startswith("transport.max_conns: 65536 lowered to") for line in lowered)
    fields = ronctl("--json", "config", "check", str(toml), "--profile", "pi5").json
    assert (fields["ok"], fields["profile"]) == (True, "pi5")


def test_every_mistake_is_named_at_once(ronctl: Ronctl, toml: Path) -> None:
    toml.write_text('peer.max_rps = 0\nhandshake_timeout = 3\noap.adr = "x"\n')
    done = ronctl("config", "check", str(toml))
    assert (done.code, done.out) == (2, "")
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 3
    assert "hint: did you mean oap.addr" in done.err


@pytest.mark.parametrize("data", [b"\xff", b"[", b"peer = 1\n"])
def test_what_is_no_config_is_code_2(ronctl: Ronctl, toml: Path, data: bytes) -> None:
    toml.write_bytes(data)
    assert ronctl("config", "check", str(toml)).code == 2
    assert ronctl("config", "check", str(toml) + ".none").code == 2
    assert ronctl("config", "check", "--profile", "pdp11").code == 2


def test_the_environment_names_the_file(
    ronctl: Ronctl, toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml.write_text("nonsense = 1\n")
    monkeypatch.setenv("RON_CONFIG", str(toml))
    assert ronctl("config", "check").code == 2
    monkeypatch.delenv("RON_CONFIG")
    assert ronctl("config", "check").code == 0


def test_what_is_printed_parses_back_to_what_is_in_force(ronctl: Ronctl, toml: Path) -> None:
    toml.write_text('drain_deadline = "1s"\n')
    printed = ronctl("config", "print", str(toml), "--profile", "pi3").out
    expected = apply_profile(parse('drain_deadline = "1s"'), profile_text("pi3"))
    assert parse(printed) == expected != DEFAULTS
    fields = ronctl("config", "print", "--json").json
    assert fields["oap"]["addr"] == DEFAULTS.oap.addr
