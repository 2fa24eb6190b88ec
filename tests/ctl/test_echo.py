"""Echo shows that a session works, and over which key exchange."""

import pytest

from tests.ctl.conftest import Ronctl


def test_text_comes_back_with_what_tls_negotiated(to_node: Ronctl) -> None:
    done = to_node("echo", "über\x1b[31m")
    first, second = done.out.splitlines()
    assert (done.code, first) == (0, r"über\x1b[31m")
    assert " ms, X25519MLKEM768, TLS_" in second


@pytest.mark.parametrize(("mode", "group"), [("hybrid", "X25519MLKEM768"), ("classical", "X25519")])
def test_the_key_exchange_is_the_one_asked_for(to_node: Ronctl, mode: str, group: str) -> None:
    fields = to_node("--json", "--pq-mode", mode, "echo", "x").json
    assert fields["text"] == "x"
    assert fields["group"].lower() == group.lower()
    assert fields["pq"] == mode


def test_text_that_is_not_utf8_survives(to_node: Ronctl) -> None:
    assert to_node("echo", "\udcff").code == 0
