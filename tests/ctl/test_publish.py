"""Publishing from the command line: what became of it, and why not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ctl.conftest import Ronctl
from tests.support.program import Program, program


@pytest.fixture(scope="module")
def in_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    config = tmp_path_factory.mktemp("mesh") / "edge.toml"
    config.write_text("[gossip]\nenabled = true\nrate = 3\n")
    with program(("--config", str(config))) as running:
        yield running


def test_a_message_is_queued_by_a_node_that_is_alone(ronctl: Ronctl, in_mesh: Program) -> None:
    words = ("--addr", in_mesh.oap, "--admin", in_mesh.admin, "publish", "site/heat")
    done = ronctl(*words, stdin=b"21")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("queued, number 1 of ")
    assert done.out.endswith(": alone\n")


def test_what_is_over_the_rate_is_an_error_with_its_reason(
    ronctl: Ronctl, in_mesh: Program, tmp_path: Path
) -> None:
    (tmp_path / "x").write_bytes(b"x")
    words = ("--json", "--addr", in_mesh.oap, "--admin", in_mesh.admin, "publish", "t")
    done = [ronctl(*words, str(tmp_path / "x")) for _ in range(40)]
    shed = [one for one in done if one.code]
    assert shed
    assert {one.code for one in shed} == {1}
    assert '"shed"' in shed[0].err
    assert "rate" in shed[0].err


def test_a_node_that_is_not_in_the_mesh_says_so(to_node: Ronctl) -> None:
    done = to_node("publish", "t", stdin=b"x")
    assert done.code == 1
    assert "takes no part in the mesh" in done.err


def test_what_is_no_topic_is_a_usage_error(ronctl: Ronctl) -> None:
    assert ronctl("publish", "\n").code == 2
