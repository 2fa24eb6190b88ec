"""Status: the page for people, the truth as the exit code."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ctl.conftest import Ronctl
from tests.support.program import Program, program


@pytest.fixture
def misconfigured(tmp_path: Path) -> Iterator[Program]:
    (tmp_path / "site.toml").write_text('oap.adr = "\\u009b2J"\n')
    argv = ["--config", str(tmp_path / "site.toml"), "--tolerate-bad-config"]
    with program(argv) as running:
        yield running


def test_a_ready_node_is_code_0_and_one_screen(to_node: Ronctl, node: Program) -> None:
    done = to_node("status")
    lines = done.out.splitlines()
    assert done.code == 0
    assert lines[0].endswith("READY")
    assert f"oap       {node.oap}" in lines
    assert len(lines) <= 20


def test_all_of_it_as_json(to_node: Ronctl, node: Program) -> None:
    fields = to_node("status", "--json").json
    assert fields["ready"] is True
    assert fields["version"]["fingerprint"] == node.pin
    assert {check["name"] for check in fields["readyz"]["checks"]} >= {"tls", "store", "admin"}


@pytest.mark.slow
def test_a_node_that_is_not_ready_is_code_1_and_says_why(
    ronctl: Ronctl, misconfigured: Program
) -> None:
    done = ronctl("status", "--admin", misconfigured.admin)
    assert done.code == 1
    assert "DEGRADED" in done.out
    assert "config: oap.adr: unknown key" in done.out
