"""Where a session is, and what moves it: the table that the machine runs and a test walks."""

from enum import Enum


class Role(Enum):
    """Which end of the link this is."""

    DIALLER = "dialler"
    LISTENER = "listener"


class State(Enum):
    """Where the conversation is."""

    HELLO = "hello"
    OPEN = "open"
    LEAVING = "leaving"
    CLOSED = "closed"


class Move(Enum):
    """What changes the state."""

    GREET = "greet"
    LEAVE = "leave"
    FAIL = "fail"


TRANSITIONS: dict[State, dict[Move, State]] = {
    State.HELLO: {Move.GREET: State.OPEN, Move.LEAVE: State.CLOSED, Move.FAIL: State.CLOSED},
    State.OPEN: {Move.GREET: State.CLOSED, Move.LEAVE: State.LEAVING, Move.FAIL: State.CLOSED},
    State.LEAVING: {Move.GREET: State.CLOSED, Move.LEAVE: State.LEAVING, Move.FAIL: State.CLOSED},
    State.CLOSED: {Move.GREET: State.CLOSED, Move.LEAVE: State.CLOSED, Move.FAIL: State.CLOSED},
}
