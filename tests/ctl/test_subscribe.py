"""Hearing a topic from the command line, a line for each message and gap."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from overlay_edge.ctl.subscribe import describe, sentence
from overlay_edge.proto.effects import Deliver, Gapped
from tests.ctl.conftest import Ronctl
from tests.support.program import Program, program

NODE = b"\xab" * 32


@pytest.fixture(scope="module")
def in_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    config = tmp_path_factory.mktemp("mesh") / "edge.toml"
    config.write_text("[gossip]\nenabled = true\n")
    with program(("--config", str(config))) as running:
        yield running


@pytest.mark.slow
def test_each_message_is_a_line_and_a_count_ends_it(ronctl: Ronctl, in_mesh: Program) -> None:
    to = ("--addr", in_mesh.oap, "--admin", in_mesh.admin)
    command = [sys.executable, "-c", "from overlay_edge.ctl.main import entry; entry()"]
    hearing = subprocess.Popen(
        [*command, "--json", *to, "subscribe", "t", "--count", "1"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert hearing.stdout is not None
    try:
        assert json.loads(hearing.stdout.readline())["event"] == "subscribed"
        assert ronctl(*to, "publish", "t", stdin=b"\x1b[2Jhello").code == 0
        message = json.loads(hearing.stdout.readline())
        assert (message["text"], message["seq"]) == ("\x1b[2Jhello", 1)
        assert hearing.wait(10) == 0
    finally:
        hearing.kill()
        hearing.wait()
        hearing.stdout.close()


def test_a_node_that_is_not_in_the_mesh_says_so(to_node: Ronctl) -> None:
    done = to_node("subscribe", "t")
    assert done.code == 1
    assert "takes no part in the mesh" in done.err


def test_text_is_shown_as_text_and_other_bytes_in_base64() -> None:
    text = describe(Deliver("t", NODE, 1, 7, b"21 C", "", 0, 2))
    assert sentence(text) == "abababababababab 7 21 C"
    raw = describe(Deliver("t", NODE, 1, 8, b"\xff\xfe", "", 0, 2))
    assert raw["base64"] == "//4="
    thing = describe(Deliver("t", NODE, 1, 9, b"", "b3:x", 70_000, 2))
    assert sentence(thing) == "abababababababab 9 b3:x, 70000 bytes"


def test_a_gap_is_a_line_of_its_own() -> None:
    gap = describe(Gapped("t", NODE, 1, 3, 5, "slow"))
    assert gap["event"] == "gap"
    assert sentence(gap) == "abababababababab 3..5 GAP: slow"
