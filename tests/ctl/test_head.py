"""Asking for an object's size."""

import json

from tests.ctl.conftest import Ronctl


def test_the_size_is_a_number_to_work_with(to_node: Ronctl) -> None:
    addr = to_node("put", "-", stdin=b"x" * 1234).out.strip()
    assert to_node("head", addr).out == "1234\n"
    assert to_node("head", addr, "--json").json == {"addr": addr, "size": 1234}


def test_an_unknown_object_is_code_1_and_its_token(to_node: Ronctl) -> None:
    done = to_node("--json", "head", "b3:" + "0" * 64)
    assert (done.code, done.out) == (1, "")
    assert json.loads(done.err)["error"] == "not_found"
