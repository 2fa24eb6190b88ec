"""`ronctl cap`: what may be asked for, and how it is told."""

from pathlib import Path

import pytest

from tests.ctl.conftest import Ronctl
from tests.support.controlled import controlled


def test_keygen_prints_the_public_key_and_keeps_the_private_one(
    ronctl: Ronctl, tmp_path: Path
) -> None:
    done = ronctl("cap", "keygen", str(tmp_path / "site.key"))
    assert done.code == 0
    assert len(bytes.fromhex(done.out.strip())) == 32
    assert (tmp_path / "site.key").read_text().startswith("-----BEGIN PRIVATE KEY-----")
    assert ronctl("cap", "keygen", str(tmp_path / "site.key")).code == 2
    again = ronctl("--json", "cap", "keygen", str(tmp_path / "other.key"))
    assert len(again.json["public"]) == 64


@pytest.mark.parametrize(
    "words",
    [
        ["cap"],
        ["cap", "mint", "--op", "get"],
        ["cap", "mint", "--key", "k"],
        ["cap", "mint", "--key", "k", "--op", "fly"],
        ["cap", "mint", "--key", "k", "--op", "get", "--prefix", "b3:XYZ"],
        ["cap", "mint", "--key", "k", "--op", "get", "--topic", "a//b"],
        ["cap", "mint", "--key", "k", "--op", "get", "--topic", 'a"b'],
        ["cap", "mint", "--key", "k", "--op", "get", "--ttl", "5"],
        ["cap", "mint", "--key", "k", "--op", "get", "--ttl", "366h99"],
        ["cap", "mint", "--key", "k", "--op", "get", "--rate", "0"],
        ["cap", "mint", "--key", "k", "--op", "get", "--max-bytes", "5"],
        ["cap", "mint", "--key", "k", "--op", "get", "--holder", "ab"],
        ["cap", "revoke", "ab"],
        ["cap", "rotate"],
    ],
)
def test_what_cannot_be_asked_for_is_usage(ronctl: Ronctl, words: list[str]) -> None:
    done = ronctl(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("usage: ronctl cap")


def test_help_of_every_verb_says_what_it_does(ronctl: Ronctl) -> None:
    for verb in ("keygen", "mint", "attenuate", "inspect", "revoke", "rotate"):
        assert ronctl("cap", verb, "--help").code == 0
    assert "capabilities" in ronctl("--help").out


def test_put_takes_a_capability_and_its_holders_key(
    ronctl: Ronctl, to_node: Ronctl, tmp_path: Path
) -> None:
    site, me, cap = (str(tmp_path / name) for name in ("site.key", "me.key", "x.cap"))
    ronctl("cap", "keygen", site)
    holder = ronctl("cap", "keygen", me).out.strip()
    ronctl("cap", "mint", "--key", site, "--op", "put", "--holder", holder, "-o", cap)
    assert to_node("--cap", cap, "--cap-key", me, "put", cap).code == 0
    alone = to_node("--cap-key", me, "put", cap)
    assert alone.code == 2
    assert "--cap: missing" in alone.err


def test_a_revocation_tells_what_it_wiped(ronctl: Ronctl) -> None:
    number = "ab" * 64
    with controlled() as node:
        done = ronctl("--admin", node.address, "cap", "revoke", number)
        fields = ronctl("--json", "--admin", node.address, "cap", "revoke", number).json
    assert node.controls.done == [("revoke", number)] * 2
    assert done.out.splitlines() == [
        "revoked abababababababab... until the node restarts",
        "2 objects wiped, 9 B; 1 session ended",
    ]
    assert fields == {"revoked": number, "objects": 2, "uploads": 0, "bytes": 9, "sessions": 1}
