"""Which link leads to a node, when there is more than one."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from overlay_edge import meshlinks
from overlay_edge.link import Link
from overlay_edge.meshlinks import TWINS_S, MeshLink, MeshLinks
from overlay_edge.proto.effects import Lane
from tests.support.pair import Pair

LOW, HIGH = b"a" * 32, b"z" * 32


@dataclass(eq=False)
class HandLink:
    """A link whose session is real and whose bytes nobody carries."""

    session: Any = field(default_factory=lambda: Pair().greet().dialler)
    closed: str = ""

    def close(self, reason: str) -> None:
        self.closed = reason

    def abort(self, reason: str) -> None:
        self.closed = reason

    def pump(self) -> None:
        pass


def made(node: bytes, *, is_outbound: bool, since: float) -> MeshLink:
    return MeshLink(cast(Link, HandLink()), node, "", is_outbound, since)


@pytest.mark.parametrize("me", [LOW, HIGH])
@pytest.mark.parametrize("first_is_ours", [True, False])
async def test_both_ends_keep_the_link_that_the_lower_id_dialled(
    me: bytes, first_is_ours: bool
) -> None:
    other = HIGH if me == LOW else LOW
    links, dead = MeshLinks(me), []
    first = made(other, is_outbound=first_is_ours, since=1.0)
    second = made(other, is_outbound=not first_is_ours, since=1.5)
    for one in (first, second):
        links.add(one, dead.append)
    kept = links.to(other)
    assert kept is not None
    assert kept.is_outbound == (me == LOW)
    assert dead == []


@pytest.mark.parametrize(("is_outbound", "later_s"), [(True, TWINS_S + 1), (False, 1.0)])
async def test_a_node_that_comes_again_has_a_new_link_and_its_old_one_is_dead(
    is_outbound: bool, later_s: float
) -> None:
    links, dead = MeshLinks(LOW), []
    old = made(HIGH, is_outbound=False, since=1.0)
    new = made(HIGH, is_outbound=is_outbound, since=1.0 + later_s)
    links.add(old, dead.append)
    links.add(new, dead.append)
    assert links.to(HIGH) is new
    assert dead == [HIGH]
    assert links.closed(old.link) is None  # nobody is told twice
    assert links.closed(new.link) is new


async def test_a_link_that_was_dropped_says_its_last_words_and_finishes_what_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(meshlinks, "LINGER_S", 0.0)
    links = MeshLinks(LOW)
    one = made(HIGH, is_outbound=True, since=1.0)
    links.add(one, lambda _: None)
    one.link.session.take_output(now=1.0)  # type: ignore[union-attr]
    links.send(HIGH, b"disconnect", Lane.CONTROL)
    links.drop(HIGH)
    assert links.send(HIGH, b"x", Lane.EAGER) is None
    links._end(one)
    assert not cast(HandLink, one.link).closed
    one.link.session.take_output(now=1.0)  # type: ignore[union-attr]
    links._end(one)
    assert cast(HandLink, one.link).closed == "not needed"


async def test_who_does_not_keep_up_is_said_once_and_who_reads_nothing_is_ended() -> None:
    links = MeshLinks(LOW)
    one = made(HIGH, is_outbound=True, since=1.0)
    links.add(one, lambda _: None)
    behind = [links.send(HIGH, bytes(60_000), Lane.EAGER) for _ in range(20)]
    assert [found for found in behind if found] == [one]
    assert links.shed_now()[Lane.EAGER] > 0
    assert links.held_bytes > 0
    for _ in range(20):
        links.send(HIGH, bytes(60_000), Lane.CONTROL)
    assert cast(HandLink, one.link).closed == "does not read"
    count, freed = links.drop_messages()
    assert (count, freed) == (0, 0)  # only control is left
    links.closed(one.link)
    assert links.shed_now()[Lane.EAGER] > 0
