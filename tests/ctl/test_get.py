"""Fetching: a file is there whole and verified, or not at all."""

import os
from pathlib import Path

import pytest

from overlay_edge.ctl.get import whole_file
from tests.ctl.conftest import Ronctl

DATA = os.urandom(200_000)
NOWHERE = "b3:" + "0" * 64


@pytest.fixture
def addr(to_node: Ronctl, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("sent") / "data"
    file.write_bytes(DATA)
    return to_node("put", str(file)).out.strip()


def test_a_fetched_file_is_what_was_put(to_node: Ronctl, addr: str, tmp_path: Path) -> None:
    target = tmp_path / "back"
    target.write_text("old")
    done = to_node("get", addr, "-o", str(target))
    assert (done.code, done.out) == (0, f"{target}: 195.3 KiB, verified\n")
    assert target.read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["back"]
    fields = to_node("get", addr, "-o", str(target), "--json").json
    assert (fields["addr"], fields["size"], fields["file"]) == (addr, len(DATA), str(target))


@pytest.mark.parametrize("argv", [[], ["-o", "-"]])
def test_without_a_file_the_bytes_go_to_standard_output(
    to_node: Ronctl, addr: str, argv: list[str]
) -> None:
    done = to_node("get", addr, *argv)
    assert (done.code, done.raw) == (0, DATA)


def test_a_device_is_written_in_place(to_node: Ronctl, addr: str) -> None:
    assert to_node("get", addr, "-o", "/dev/null").code == 0
    assert not os.path.isfile("/dev/null")


def test_what_the_node_does_not_have_leaves_nothing(to_node: Ronctl, tmp_path: Path) -> None:
    target = tmp_path / "kept"
    target.write_text("old")
    done = to_node("get", NOWHERE, "-o", str(target))
    assert done.code == 1
    assert target.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_json_and_bytes_do_not_share_standard_output(to_node: Ronctl) -> None:
    done = to_node("get", NOWHERE, "--json")
    assert (done.code, done.out) == (2, "")


def test_bytes_are_kept_off_a_terminal(to_node: Ronctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    done = to_node("get", NOWHERE)
    assert (done.code, done.out) == (2, "")
    assert "-o FILE" in done.err


@pytest.mark.parametrize("argv", [["get", "b3:xyz"], ["head", NOWHERE[3:]]])
def test_a_malformed_address_is_wrong_usage(ronctl: Ronctl, argv: list[str]) -> None:
    assert ronctl(*argv).code == 2


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with whole_file(str(tmp_path / "x")) as write:
            write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(to_node: Ronctl, tmp_path: Path) -> None:
    done = to_node("get", NOWHERE, "-o", str(tmp_path / "no" / "x"))
    assert done.code == 1
    assert "No such file or directory" in done.err
