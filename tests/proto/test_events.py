"""Events: facts that nobody can change, and none that nobody was meant to hear."""

from dataclasses import FrozenInstanceError, fields
from typing import get_args

import pytest

from overlay_edge.proto import events
from overlay_edge.proto.events import Answered, Event, LinkFailed, Requested
from overlay_edge.proto.hello import Hello

SAMPLES = {"hello": Hello(), "payload": b"x", "data": b"x", "cap": b"c"}


@pytest.mark.parametrize("kind", [*get_args(Event), Answered], ids=lambda k: k.__name__)
def test_an_event_is_a_fact_that_cannot_be_changed(kind: type) -> None:
    names = [field.name for field in fields(kind)]
    event = kind(**{name: SAMPLES.get(name, 1) for name in names})
    for name in names:
        with pytest.raises(FrozenInstanceError):
            setattr(event, name, 2)
    assert not hasattr(event, "__dict__")


def test_every_event_is_one_of_the_union_that_rooms_match_on() -> None:
    told = {kind for kind in vars(events).values() if isinstance(kind, type)}
    own = {kind for kind in told if kind.__module__ == events.__name__}
    assert own - {Answered} == set(get_args(Event))


def test_a_failure_is_ours_unless_the_peer_said_so() -> None:
    assert LinkFailed(400, "bad_request", "BadFlags", "x").is_ours


def test_two_reports_of_the_same_are_equal() -> None:
    assert Requested(1, 2, 3, b"", b"x", True) == Requested(1, 2, 3, b"", b"x", True)
