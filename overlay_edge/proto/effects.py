"""Effects: what the machines of the mesh want done, and what a publisher is told.

Rooms inside say what to tell a neighbour as a message (:class:`Tell`); only ``gossip.py`` turns
it into bytes (:class:`Send`). Whoever owns the node carries the rest out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TypeVar

from overlay_edge.proto.gossip_message import Contact, Message

T = TypeVar("T")
Dice = Callable[[], float]  # a number from 0 up to 1


class Lane(IntEnum):
    """How important a payload is: what must be shed is shed from the highest number down."""

    CONTROL = 0  # who is whose neighbour, who pushes to whom
    EAGER = 2  # messages
    LAZY = 3  # ids of messages, comparing and repairing


@dataclass(frozen=True, slots=True)
class Tell:
    """Inside: a message for a neighbour."""

    peer: bytes
    message: Message
    lane: Lane


@dataclass(frozen=True, slots=True)
class Up:
    """Inside: a peer became a neighbour."""

    peer: bytes


@dataclass(frozen=True, slots=True)
class Down:
    """Inside: a peer is no longer a neighbour."""

    peer: bytes


@dataclass(frozen=True, slots=True)
class Send:
    """Send a payload, as an event of the gossip application."""

    peer: bytes
    payload: bytes
    lane: Lane


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect; answer with ``linked`` or ``dial_failed``, with this same contact."""

    contact: Contact


@dataclass(frozen=True, slots=True)
class Drop:
    """The mesh needs this link no longer. Close it unless something else uses it."""

    peer: bytes
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Deliver:
    """A message for the subscribers of a topic: its bytes, or an object's address and size.

    Attributes:
        hop: Links it passed.
    """

    topic: str
    publisher: bytes
    epoch: int
    seq: int
    data: bytes
    addr: str
    size: int
    hop: int


@dataclass(frozen=True, slots=True)
class Gapped:
    """The subscribers of a topic will never get these messages, both ends included.

    Attributes:
        reason: One of :class:`Loss`.
    """

    topic: str
    publisher: bytes
    epoch: int
    first: int
    last: int
    reason: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """Pull an object from one of these, nearest first; answer with ``fetched``.

    Attributes:
        topic: What it was published under.
    """

    addr: str
    size: int
    topic: str
    providers: tuple[Contact, ...]


Effect = Send | Dial | Drop | Deliver | Gapped | Fetch
Inner = Tell | Up | Down | Dial | Drop | Deliver | Gapped | Fetch


class Loss(Enum):
    """Why messages are given up."""

    LOST = "lost"  # a neighbour was asked, and has them no longer
    UNANSWERED = "unanswered"  # nobody who was asked answered in time
    BEHIND = "behind"  # too many at once to ask for
    HOLES = "holes"  # too many separate holes to remember
    REPLACED = "replaced"  # of an epoch before the last two
    FETCH = "fetch"  # the object could not be had from its providers


@dataclass(frozen=True, slots=True)
class Accepted:
    """Published, and on its way to at least one neighbour."""

    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class Queued:
    """Published, and kept until a neighbour takes it; it ends with the cache's age.

    Attributes:
        reason: ``alone`` = there is no neighbour; ``congested`` = none of them keeps up.
    """

    epoch: int
    seq: int
    reason: str


@dataclass(frozen=True, slots=True)
class Shed:
    """Not published, and not numbered.

    Attributes:
        reason: ``rate``, ``too_large``, ``topics`` or ``topic``.
        retry_after_ms: When trying again makes sense; 0 = never.
    """

    reason: str
    retry_after_ms: int


Outcome = Accepted | Queued | Shed


def pick(items: Sequence[T], rng: Dice) -> T:
    """One of some; there must be one."""
    return items[int(rng() * len(items))]


def sample(items: Sequence[T], most: int, rng: Dice) -> list[T]:
    """Up to ``most`` of some, in a random order."""
    pool = list(items)
    taken = min(most, len(pool))
    for at in range(taken):
        other = at + int(rng() * (len(pool) - at))
        pool[at], pool[other] = pool[other], pool[at]
    return pool[:taken]
