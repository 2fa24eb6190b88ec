"""`ronctl audit`: what a node holds can be read, kept, and verified."""

from pathlib import Path

import pytest

from tests.ctl.conftest import Ronctl
from tests.support.controlled import controlled


def test_the_records_held_are_lines_for_people(ronctl: Ronctl) -> None:
    with controlled() as node:
        node.write(3)
        done = ronctl("--admin", node.address, "audit", "tail", "--since", "1")
    first, second, third = done.out.splitlines()
    assert first == "#1 1970-01-01T00:00:00Z purge subject={'name': 'o1'}"
    assert second.startswith("#2 ")
    assert "cap_used actor={'name': 'local'} subject={'name': '/audit'}" in third


def test_what_a_node_holds_verifies(ronctl: Ronctl) -> None:
    with controlled() as node:
        node.write(10)
        done = ronctl("--admin", node.address, "audit", "verify")
    assert done.code == 0
    assert done.out == "ok: 11 records, 1 chains, 0 lost, 0 duplicates\n"


def test_what_the_ring_lost_is_counted(ronctl: Ronctl) -> None:
    with controlled() as node:
        node.write(60)
        done = ronctl("--json", "--admin", node.address, "audit", "verify", "--live")
    assert done.code == 0
    assert (done.json["records"], done.json["lost"]) == (50, 11)


def test_a_file_of_records_verifies_until_one_is_changed(ronctl: Ronctl, tmp_path: Path) -> None:
    with controlled() as node:
        node.write(5)
        text = ronctl("--json", "--admin", node.address, "audit", "tail").out
    file = tmp_path / "audit.jsonl"
    file.write_text(text)
    assert ronctl("audit", "verify", str(file)).code == 0
    assert ronctl("audit", "verify", "-", stdin=text.encode()).code == 0
    file.write_text(text.replace('"o2"', '"o9"'))
    done = ronctl("audit", "verify", str(file))
    assert done.code == 1
    assert "broken: line 3: record 2 was changed" in done.out
    done = ronctl("--json", "audit", "verify", str(file))
    assert (done.code, done.json["ok"]) == (1, False)


@pytest.mark.parametrize("text", [b"", b"\n\n", b"no record\n", b"\xff\xfe\n", b"x" * 20_000])
def test_what_holds_no_record_is_not_ok(ronctl: Ronctl, text: bytes) -> None:
    assert ronctl("audit", "verify", "-", stdin=text).code == 1


def test_a_file_or_the_node_but_not_both(ronctl: Ronctl) -> None:
    assert ronctl("audit", "verify", "x", "--live").code == 2


def test_a_file_that_is_not_there_is_said(ronctl: Ronctl) -> None:
    done = ronctl("audit", "verify", "/nowhere/x")
    assert (done.code, "/nowhere/x" in done.err) == (1, True)
