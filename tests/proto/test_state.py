"""States: the table a session runs has an answer to every move, and no way back from the end."""

from itertools import product

import pytest

from overlay_edge.proto.state import TRANSITIONS, Move, State

every_state = pytest.mark.parametrize("state", State)


@every_state
def test_a_state_answers_every_move(state: State) -> None:
    assert TRANSITIONS[state].keys() == set(Move)


@every_state
def test_a_state_is_reached_from_the_first(state: State) -> None:
    reached = {State.HELLO}
    for _ in State:
        reached |= {TRANSITIONS[here][move] for here, move in product(reached, Move)}
    assert state in reached


@pytest.mark.parametrize("state", [s for s in State if s is not State.CLOSED])
def test_a_state_has_a_way_out_and_a_failure_is_one(state: State) -> None:
    assert TRANSITIONS[state][Move.FAIL] is State.CLOSED


@pytest.mark.parametrize("move", Move)
def test_closed_stays_closed(move: Move) -> None:
    assert TRANSITIONS[State.CLOSED][move] is State.CLOSED


@pytest.mark.parametrize("state", [s for s in State if s is not State.HELLO])
def test_a_greeting_comes_once_or_ends_the_session(state: State) -> None:
    assert TRANSITIONS[state][Move.GREET] is State.CLOSED


@every_state
def test_nothing_leads_back_to_hello(state: State) -> None:
    assert State.HELLO not in TRANSITIONS[state].values()


def test_who_is_leaving_takes_no_requests_again() -> None:
    assert State.OPEN not in TRANSITIONS[State.LEAVING].values()
