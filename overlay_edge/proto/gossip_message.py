"""Gossip messages: what nodes of the mesh tell each other (``oap1.md`` section 7).

A payload is one CBOR map with a ``kind``. Keys beside those listed are ignored, and so is a kind
that is not listed: a later version may add both.

Who published what is named by four things, and a message by their hash:

    publisher   32 bytes, the node's id
    epoch       names one numbering: of one topic, in one life of the publisher
    seq         1, 2, 3 ... without a hole
    id          the first 16 bytes of BLAKE3(publisher | epoch | seq)

The number runs for each topic of its own, so that who hears one topic sees exactly what is
missing of it. The id knows no topic, therefore no two topics may share an epoch: a publisher
takes the time of its start, and for each further topic the next number. A later epoch of a
topic replaces an earlier one, as after a restart.
"""

from dataclasses import dataclass

from blake3 import blake3

NODE_ID_BYTES = 32
MESSAGE_ID_BYTES = 16
MAX_TOPIC_BYTES = 128
MAX_ADDR_BYTES = 128  # host:port; a name of 120 bytes is none a person would choose
MAX_HOP = 32
MAX_DATA_BYTES = 64 << 10
MAX_IDS = 64  # of one ihave or want
MAX_HOLES = 32  # of one stream in a digest
MAX_RANGES = 2 * MAX_HOLES
MAX_CONTACTS = 16  # of one shuffle; we send 8
MAX_PROVIDERS = 2
MAX_STREAMS = 256  # of one digest; 4 KiB hold about 80
MAX_DIGEST_BYTES = 4 << 10
MAX_SEQ = 1 << 62
MAX_SIZE = 1 << 53
HEADER_BYTES = 1 << 10  # the most a message has beside its data: topic, providers, keys
MAX_OTHER_BYTES = 2 * MAX_DIGEST_BYTES  # of what is no message, keys of later versions included
MAX_PAYLOAD_BYTES = MAX_DATA_BYTES + HEADER_BYTES
NOBODY = bytes(NODE_ID_BYTES)

Ranges = tuple[tuple[int, int], ...]


def message_id(publisher: bytes, epoch: int, seq: int) -> bytes:
    """The id of a message: nobody can choose it, and everybody can compute it."""
    raw = publisher + epoch.to_bytes(8, "big") + seq.to_bytes(8, "big")
    return blake3(raw).digest(length=MESSAGE_ID_BYTES)


@dataclass(frozen=True, slots=True)
class Contact:
    """A node and where it can be dialled.

    Attributes:
        node: Its id; :data:`NOBODY` = not known yet, as with an address from the config.
        addr: ``host:port``, empty = it cannot be dialled.
    """

    node: bytes
    addr: str


@dataclass(frozen=True, slots=True)
class Gossip:
    """A published message, or the announcement of an object that is too large to be one.

    Attributes:
        ts: Milliseconds since 1970 by the publisher's clock, which may be wrong: for people.
        hop: Links passed so far, this one included.
        data: The message; empty if ``addr`` is set.
        addr: ``b3:`` address of the object, empty if the message is in ``data``.
        size: Bytes of the object.
        providers: Who has the object, nearest first.
        fanout: How many neighbours the sender would push it to; 0 = it does not care.
        is_repair: Asked for: says nothing about who should push what to whom.
    """

    id: bytes
    topic: str
    publisher: bytes
    epoch: int
    seq: int
    ts: int
    hop: int
    data: bytes
    addr: str = ""
    size: int = 0
    providers: tuple[Contact, ...] = ()
    fanout: int = 0
    is_repair: bool = False


@dataclass(frozen=True, slots=True)
class Ihave:
    """Ids of messages that can be had from the sender, and their hops."""

    topic: str
    ids: tuple[bytes, ...]
    hops: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Graft:
    """Push me the topic from now on, and this message now."""

    topic: str
    id: bytes | None = None


@dataclass(frozen=True, slots=True)
class Prune:
    """Do not push me the topic: others are faster. Tell me ids."""

    topic: str


@dataclass(frozen=True, slots=True)
class Want:
    """Send me these: by their ids, or as numbers of one stream."""

    ids: tuple[bytes, ...] = ()
    topic: str = ""
    publisher: bytes = NOBODY
    epoch: int = 0
    ranges: Ranges = ()


@dataclass(frozen=True, slots=True)
class Join:
    """I am new: let me in, and tell others.

    Attributes:
        probe: Not so new: if we are two meshes, let somebody of yours be my neighbour.
    """

    addr: str
    probe: bool = False


@dataclass(frozen=True, slots=True)
class ForwardJoin:
    """Somebody is new; whoever ends the walk becomes its neighbour."""

    peer: Contact
    ttl: int


@dataclass(frozen=True, slots=True)
class Neighbor:
    """Be my neighbour; ``high`` = I have hardly any, you may not refuse."""

    high: bool
    addr: str


@dataclass(frozen=True, slots=True)
class NeighborReply:
    """Whether a join or neighbor was taken."""

    ok: bool


@dataclass(frozen=True, slots=True)
class Disconnect:
    """You are no longer my neighbour; ``alive`` = I am still there to be asked again."""

    alive: bool


@dataclass(frozen=True, slots=True)
class Shuffle:
    """Nodes I know, walking; the answer comes back the way it went, by ``id``."""

    id: int
    ttl: int
    peers: tuple[Contact, ...]


@dataclass(frozen=True, slots=True)
class ShuffleReply:
    """Nodes known at the end of that walk."""

    id: int
    peers: tuple[Contact, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """What is held of one stream: everything up to ``top`` but the holes."""

    epoch: int
    top: int
    holes: Ranges = ()


@dataclass(frozen=True, slots=True)
class Digest:
    """What is held of a topic.

    Attributes:
        streams: By publisher; up to two epochs of each, the latest first.
        ask: Answer with yours, where it has more.
        whole: No stream of the topic was left out.
    """

    topic: str
    streams: dict[bytes, tuple[Held, ...]]
    ask: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Gap:
    """These can not be had from the sender, ``first`` and ``last`` included."""

    topic: str
    publisher: bytes
    epoch: int
    first: int
    last: int


Message = (
    Gossip
    | Ihave
    | Graft
    | Prune
    | Want
    | Join
    | ForwardJoin
    | Neighbor
    | NeighborReply
    | Disconnect
    | Shuffle
    | ShuffleReply
    | Digest
    | Gap
)
