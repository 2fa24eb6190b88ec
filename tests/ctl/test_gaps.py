"""The proof: delivered and gapped are all that was published, on every node that is asked."""

from overlay_edge.ctl.gaps import compare
from tests.ctl.conftest import Ronctl
from tests.support.controlled import controlled


def row(
    published: int, delivered: int, gapped: int = 0, pending: int = 0, publisher: str = "ab"
) -> dict[str, object]:
    return {
        "topic": "t",
        "publisher": publisher * 32,
        "epoch": 7,
        "published": published,
        "delivered": delivered,
        "gapped": gapped,
        "pending": pending,
    }


def test_two_nodes_that_account_for_everything_hold(ronctl: Ronctl) -> None:
    with controlled() as one, controlled() as two:
        one.controls.streams = [row(5, 5)]
        two.controls.streams = [row(5, 3, gapped=2)]
        done = ronctl("gaps", "--admin", one.address, "--admin", f"http://{two.address}")
        assert done.code == 0
        assert "every message is accounted for" in done.out
        fields = ronctl("--json", "gaps", "--admin", one.address, "--admin", two.address).json
    assert fields["holds"] is True
    (stream,) = fields["streams"]
    assert stream["nodes"][two.address] == {
        "delivered": 3,
        "gapped": 2,
        "pending": 0,
        "holds": True,
    }


def test_a_node_that_knows_less_than_another_does_not_hold(ronctl: Ronctl) -> None:
    with controlled() as one, controlled() as two:
        one.controls.streams = [row(5, 5)]
        two.controls.streams = [row(4, 4)]
        done = ronctl("gaps", "--admin", one.address, "--admin", two.address)
    assert done.code == 1
    assert "DOES NOT ADD UP" in done.out
    assert "NOT every message" in done.out


def test_what_is_pending_is_not_accounted_for_yet_and_a_stream_that_is_unknown_is_none() -> None:
    (pending,) = compare({"a": [row(5, 4, pending=1)]})
    assert not pending["holds"]
    first, second = compare({"a": [row(5, 5)], "b": [row(2, 2, publisher="cd")]})
    assert not first["holds"]
    assert not second["holds"]
    assert first["nodes"]["b"]["delivered"] == 0


def test_without_any_named_the_one_node_is_asked(ronctl: Ronctl) -> None:
    with controlled() as one:
        assert ronctl("--admin", one.address, "gaps").code == 0
