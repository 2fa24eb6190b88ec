"""`ronctl purge` and `ronctl config reload`: what they ask of a node, and what it says."""

import pytest

from overlay_edge.errors import ConfigError
from tests.ctl.conftest import Ronctl
from tests.support.controlled import controlled

ADDR = "b3:" + "0f" * 32


def test_one_object_a_topic_or_all_of_them(ronctl: Ronctl) -> None:
    with controlled() as node:
        one = ronctl("--admin", node.address, "purge", ADDR)
        named = ronctl("--addr", "127.0.0.1:1", "--admin", node.address, "purge", "--addr", ADDR)
        about = ronctl("purge", "--topic", "site/heat", "--admin", node.address)
        every = ronctl("--json", "--admin", node.address, "purge", "--all", "--addr", "[::1]:9444")
    assert node.controls.done == [
        ("purge", ADDR, None),
        ("purge", ADDR, None),
        ("purge", None, "site/heat"),
        ("purge", None, None),
    ]
    assert (one.code, one.out) == (0, "3 objects and 1 upload wiped, 4.0 KiB\n")
    assert one.out == named.out == about.out
    assert every.json == {"objects": 3, "uploads": 1, "bytes": 4096}


@pytest.mark.parametrize(
    "argv",
    [
        [],
        [ADDR, "--all"],
        ["--addr", ADDR, "--all"],
        ["--addr", ADDR, ADDR],
        ["--topic", "a", "--all"],
        ["b3:0"],
        ["--addr", "127.0.0.1:9444"],
        ["--topic", ""],
    ],
)
def test_nothing_is_purged_by_mistake(ronctl: Ronctl, argv: list[str]) -> None:
    assert ronctl("purge", *argv).code == 2


def test_the_other_verbs_keep_the_name_of_the_node(ronctl: Ronctl) -> None:
    for verb in ("put", "status"):
        assert "--addr HOST:PORT" in ronctl(verb, "--help").out
    assert "--addr HOST:PORT" in ronctl("--help").out
    assert "--addr ADDR" in ronctl("purge", "--help").out


def test_a_reload_tells_what_differs(ronctl: Ronctl) -> None:
    with controlled() as node:
        done = ronctl("--admin", node.address, "config", "reload")
    assert (done.code, done.out) == (0, "version 2\npeer.max_rps: 500 -> 7\n")


def test_a_reload_that_is_refused_names_every_key_and_is_code_2(ronctl: Ronctl) -> None:
    with controlled() as node:
        node.controls.error = ConfigError(["oap.addr: a", "store.path: b"], hint="restart it")
        done = ronctl("--admin", node.address, "config", "reload")
    assert done.code == 2
    assert done.err.splitlines() == [
        "error: oap.addr: a",
        "error: store.path: b",
        "hint: restart it",
    ]
