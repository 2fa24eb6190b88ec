"""`ronctl purge` and `ronctl config reload`: what they ask of a node, and what it says."""

from overlay_edge.errors import ConfigError
from tests.ctl.conftest import Ronctl
from tests.support.controlled import controlled

ADDR = "b3:" + "0f" * 32


def test_one_object_or_all_of_them(ronctl: Ronctl) -> None:
    with controlled() as node:
        one = ronctl("--admin", node.address, "purge", ADDR)
        every = ronctl("--json", "--admin", node.address, "purge", "--all")
    assert node.controls.done == [("purge", ADDR), ("purge", None)]
    assert (one.code, one.out) == (0, "3 objects wiped, 4.0 KiB\n")
    assert every.json == {"objects": 3, "bytes": 4096}


def test_nothing_is_purged_by_mistake(ronctl: Ronctl) -> None:
    assert ronctl("purge").code == 2
    assert ronctl("purge", ADDR, "--all").code == 2
    assert ronctl("purge", "b3:0").code == 2


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
