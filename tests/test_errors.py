"""Errors: one tree, one line each, and what a peer or an operator is told travels along."""

import inspect
import re

import pytest

from overlay_edge import errors
from overlay_edge.errors import (
    BindError,
    ConfigError,
    EdgeError,
    IntegrityError,
    ObjectGone,
    PeerViolation,
    PinMismatch,
    ProtocolError,
    Refused,
    TransportError,
)

KINDS = [kind for kind in vars(errors).values() if inspect.isclass(kind)]
ERRORS = [kind for kind in KINDS if issubclass(kind, Exception)]


def drawn() -> dict[str, str]:
    """The tree as the module draws it: name to the name above it."""
    above: dict[str, str] = {}
    line_of: list[tuple[int, str]] = []
    for indent, name in re.findall(r"^( {4,})([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE):
        depth = len(indent)
        line_of = [(other, word) for other, word in line_of if other < depth]
        above[name] = line_of[-1][1] if line_of else "Exception"
        line_of.append((depth, name))
    return above


def test_the_tree_is_the_one_that_is_drawn() -> None:
    assert drawn() == {kind.__name__: kind.__bases__[0].__name__ for kind in ERRORS}


@pytest.mark.parametrize("kind", ERRORS, ids=lambda k: k.__name__)
def test_whoever_catches_the_base_catches_all(kind: type[Exception]) -> None:
    assert issubclass(kind, EdgeError)


@pytest.mark.parametrize("kind", [EdgeError, BindError, TransportError, PinMismatch, ObjectGone])
def test_an_error_is_its_message_and_has_no_hint_unless_given(kind: type[EdgeError]) -> None:
    assert (str(kind("found x, expected y")), kind("x").hint) == ("found x, expected y", "")
    assert kind("x", hint="do y").hint == "do y"


def test_a_config_error_carries_every_mistake_and_says_them_in_one_line() -> None:
    error = ConfigError(["a.b: 0, expected 1", "c: unknown"], hint="look")
    assert error.mistakes == ("a.b: 0, expected 1", "c: unknown")
    assert str(error) == "a.b: 0, expected 1; c: unknown"
    assert error.hint == "look"


def test_a_violation_is_a_bad_request_unless_it_says_otherwise() -> None:
    plain = PeerViolation("BadFlags", "flags")
    assert (plain.name, plain.code, plain.token) == ("BadFlags", 400, "bad_request")
    told = PeerViolation("RatioCap", "x", code=413, token="ratio_cap")
    assert (told.code, told.token) == (413, "ratio_cap")


def test_a_refusal_says_when_to_come_again_only_if_that_makes_sense() -> None:
    assert Refused(404, "not_found", "no").retry_after_ms is None
    later = Refused(503, "busy", "full", retry_after_ms=0)
    assert (later.code, later.token, str(later), later.retry_after_ms) == (503, "busy", "full", 0)


def test_who_retries_a_broken_connection_also_retries_broken_bytes_but_not_a_broken_rule() -> None:
    assert issubclass(IntegrityError, TransportError)
    assert issubclass(PinMismatch, TransportError)
    assert not issubclass(ProtocolError, TransportError)
    assert not issubclass(Refused, ProtocolError)
