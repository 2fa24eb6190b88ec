"""Patience: what is waited for, what is not, and when it ends."""

from argparse import Namespace

import pytest

from overlay_edge.ctl.patience import patiently
from overlay_edge.errors import Refused


def args(patience: float = 5.0, as_json: bool = False) -> Namespace:
    return Namespace(patience=patience, json=as_json)


class Node:
    """Refuses as often as it is told to, then answers."""

    def __init__(self, *refusals: Refused) -> None:
        self.refusals = list(refusals)
        self.asked = 0

    async def ask(self) -> str:
        self.asked += 1
        if self.refusals:
            raise self.refusals.pop(0)
        return "answer"


def later(ms: int | None, code: int = 429) -> Refused:
    return Refused(code, "quota_exhausted", "used up", retry_after_ms=ms)


async def test_a_node_that_says_when_is_asked_again_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    node = Node(later(1), later(2, code=503))
    assert await patiently(args(), node.ask) == "answer"
    assert node.asked == 3
    assert capsys.readouterr().err.count("as the node asks: used up") == 2


@pytest.mark.parametrize(
    "refusal",
    [later(None), later(0), later(1, code=404), later(60_000)],
    ids=["no time", "zero", "not worth waiting", "longer than patience"],
)
async def test_what_waiting_does_not_help_is_told_at_once(refusal: Refused) -> None:
    node = Node(refusal)
    with pytest.raises(Refused):
        await patiently(args(), node.ask)
    assert node.asked == 1


async def test_scripts_hear_nothing_of_the_waiting(capsys: pytest.CaptureFixture[str]) -> None:
    await patiently(args(as_json=True), Node(later(1)).ask)
    assert capsys.readouterr() == ("", "")
