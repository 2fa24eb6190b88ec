"""What a session tells the one who owns it."""

from dataclasses import dataclass

from overlay_edge.proto.hello import Hello


@dataclass(frozen=True, slots=True)
class Greeted:
    """HELLO is done; requests may flow."""

    hello: Hello


@dataclass(frozen=True, slots=True)
class Requested:
    """The peer opened a request.

    Attributes:
        cap: The capability of its START frame, opaque.
        payload: The head, inflated.
        is_whole: START and END in one frame: no :class:`Body` follows.
    """

    corr_id: int
    app: int
    tenant: int
    cap: bytes
    payload: bytes
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Body:
    """More bytes of an open request. Say ``consumed`` when they are used up."""

    corr_id: int
    data: bytes
    is_last: bool


@dataclass(frozen=True, slots=True)
class Responded:
    """A frame of an answer to our request. Say ``consumed`` for all but the first."""

    corr_id: int
    code: int
    payload: bytes
    is_first: bool
    is_last: bool


@dataclass(frozen=True, slots=True)
class Abandoned:
    """A request of the peer ended before its answer: it stalled, broke a rule or a source failed.

    The peer has been told. What was built up for the request is to be thrown away.
    """

    corr_id: int
    token: str


@dataclass(frozen=True, slots=True)
class Notified:
    """An event frame for an application."""

    app: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """The peer has taken nearly all events that waited for it, after it had not kept up."""


@dataclass(frozen=True, slots=True)
class Ponged:
    """The answer to our ping ``number``."""

    number: int


@dataclass(frozen=True, slots=True)
class PeerLeaving:
    """The peer takes no new requests; open ones finish."""

    reason: str
    retry_after_ms: int


@dataclass(frozen=True, slots=True)
class LinkFailed:
    """The last event: the link is to be closed once the output is written.

    Attributes:
        code: Status, as told to the peer or as the peer told us.
        token: Error token; a metric label.
        name: The refusal's name of ``oap1.md`` section 2, or the token again.
        reason: For people.
        is_ours: We refuse the peer; False = the peer refused us.
    """

    code: int
    token: str
    name: str
    reason: str
    is_ours: bool = True


Event = (
    Greeted
    | Requested
    | Body
    | Responded
    | Abandoned
    | Notified
    | CaughtUp
    | Ponged
    | PeerLeaving
    | LinkFailed
)


@dataclass(frozen=True, slots=True)
class Answered:
    """A request of the peer is over: its last frame left, or it was refused.

    Attributes:
        code: The answer's status; 0 = the link was lost before it.
        token: Error token of a refusal, empty otherwise.
        seconds: From its START to the last frame of the answer.
        was_admitted: It had got past the limits and was counted.
    """

    corr_id: int
    app: int
    code: int
    token: str
    seconds: float
    was_admitted: bool
