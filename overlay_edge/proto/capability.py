"""Capability: a token on the wire, and the table it is compiled to.

The `cap` section of a START frame holds the bare token, or, when the token names a holder
key, a proof that whoever sends it has that key and sits at the other end of this channel::

    token                           anyone who has it may use it
    "h1" | 64-byte signature | token    Ed25519 over 32 bytes exported from TLS

A :class:`Grant` is only ever narrowed, and asking it is a look-up: no token is parsed, no
rule is run for a frame.
"""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from blake3 import blake3

EXPORTER_LABEL = b"EXPORTER-OAP1-cap"
EXPORTER_BYTES = 32
PROOF_MARK = b"h1"
PROOF_BYTES = 64
MAX_TOKEN_BYTES = 4096  # a mint of every right and three narrowings take a third of it
MAX_SECTION_BYTES = len(PROOF_MARK) + PROOF_BYTES + MAX_TOKEN_BYTES
MAX_TERMS = 64  # prefixes or topics one grant may hold: a look-up stays a look-up


class Op(StrEnum):
    """What a capability may allow."""

    GET = "get"
    HEAD = "head"
    PUT = "put"
    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"
    CONTROL = "control"


OBJECT_OPS = frozenset({Op.GET, Op.HEAD, Op.PUT})
TOPIC_OPS = frozenset({Op.PUBLISH, Op.SUBSCRIBE})


@dataclass(frozen=True, slots=True, repr=False)
class Capability:
    """A token, which is a secret: printing it gives its fingerprint."""

    token: bytes

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that name it in logs."""
        return fingerprint(self.token)

    def __repr__(self) -> str:
        return f"<capability {self.fingerprint}>"


@dataclass(frozen=True, slots=True)
class Grant:
    """What one verified token allows.

    Attributes:
        rights: Prefixes of object addresses for each operation; empty text = every object.
        topics: Patterns of topics that publish and subscribe may use.
        max_bytes: Longest object or message it may bring, or None.
        rates: Requests per second by who limited them: the id of a block of the token. What
            is narrowed from one token shares that token's rate.
        expires: Wall seconds, or None.
        holder: The Ed25519 key its user must have, or None.
        revocation_ids: One for each block, the mint's first.
        fingerprint: Names the token in logs.
        key_id: The root key that signed it.
        generation: Of the authority when it was verified; another one means: verify again.
    """

    rights: Mapping[Op, tuple[str, ...]] = field(default_factory=dict)
    topics: tuple[str, ...] = ()
    max_bytes: int | None = None
    rates: tuple[tuple[str, int], ...] = ()
    expires: float | None = None
    holder: bytes | None = None
    revocation_ids: tuple[str, ...] = ()
    fingerprint: str = ""
    key_id: int = 0
    generation: int = 0

    @property
    def ops(self) -> frozenset[Op]:
        """Operations it allows on something."""
        return frozenset(self.rights)

    @property
    def max_rps(self) -> int | None:
        """The lowest of its rates."""
        return min((rate for _, rate in self.rates), default=None)

    @property
    def account(self) -> str:
        """Whose quota its use draws on: the mint's token, however often it was narrowed.

        Anyone can narrow a token a thousand times offline; that must not make a thousand
        quotas of one.
        """
        return f"cap:{self.revocation_ids[0][:32]}" if self.revocation_ids else ""

    def allows(self, op: Op, subject: str = "", size: int = 0) -> bool:
        """Is this covered?

        Args:
            op: The operation.
            subject: An object's address (empty = not known yet), a topic, or empty.
            size: Bytes that the request brings.
        """
        prefixes = self.rights.get(op)
        if prefixes is None or (self.max_bytes is not None and size > self.max_bytes):
            return False
        if op in OBJECT_OPS:
            return subject.startswith(prefixes)
        return op not in TOPIC_OPS or any(covers(pattern, subject) for pattern in self.topics)

    def only_ops(self, ops: Iterable[Op]) -> "Grant":
        """Narrowed to some operations."""
        kept = frozenset(ops)
        return replace(self, rights={op: own for op, own in self.rights.items() if op in kept})

    def only_objects(self, prefixes: Iterable[str]) -> "Grant":
        """Narrowed to some objects; what is not about objects is lost."""
        wanted = tuple(prefixes)
        rights = {
            op: both
            for op, own in self.rights.items()
            if op in OBJECT_OPS and (both := _common_prefixes(own, wanted))
        }
        return replace(self, rights=rights)

    def only_topics(self, patterns: Iterable[str]) -> "Grant":
        """Narrowed to some topics; what is not about topics is lost."""
        wanted = tuple(patterns)
        met = (meet(own, other) for own in self.topics for other in wanted)
        topics = tuple(dict.fromkeys(pattern for pattern in met if pattern is not None))
        rights = {op: own for op, own in self.rights.items() if op in TOPIC_OPS and topics}
        return replace(self, topics=topics, rights=rights)

    def only_size(self, max_bytes: int) -> "Grant":
        """Narrowed to what brings at most so many bytes."""
        ours = self.max_bytes
        return replace(self, max_bytes=max_bytes if ours is None else min(ours, max_bytes))

    def only_before(self, time: float) -> "Grant":
        """Narrowed to uses before a time."""
        ours = self.expires
        return replace(self, expires=time if ours is None else min(ours, time))

    def only_rate(self, owner: str, rate: int) -> "Grant":
        """Narrowed to so many requests a second, counted for ``owner``."""
        return replace(self, rates=(*self.rates, (owner, rate)))


def fingerprint(token: bytes) -> str:
    """What a log may say of a token: too short to find another one, and no part of it."""
    return blake3(token).hexdigest()[:12]


def from_text(text: str) -> bytes:
    """The token of its base64 for URLs, with or without padding.

    Raises:
        ValueError: It is not that, or longer than a token may be.
    """
    bare = text.rstrip("=")
    if len(bare) > (MAX_TOKEN_BYTES * 4 + 2) // 3:
        raise ValueError("too long")
    return base64.b64decode(bare + "=" * (-len(bare) % 4), b"-_", validate=True)


def to_text(token: bytes) -> str:
    """A token as base64 for URLs, without padding."""
    return base64.urlsafe_b64encode(token).decode("ascii").rstrip("=")


def split_section(section: bytes) -> tuple[bytes, bytes]:
    """Proof (empty = none) and token of a `cap` section; no token begins like a proof."""
    if not section.startswith(PROOF_MARK):
        return b"", section
    start = len(PROOF_MARK)
    return section[start : start + PROOF_BYTES], section[start + PROOF_BYTES :]


def join_section(proof: bytes, token: bytes) -> bytes:
    """The `cap` section of a token and its proof, which may be empty."""
    return PROOF_MARK + proof + token if proof else token


def carries(section: bytes, ids: Iterable[str]) -> bool:
    """Has the token of a `cap` section a block of one of these revocation ids (hex)?

    An id is the signature of its block, so it is in the token as it is: this works for a token
    that nobody has verified.
    """
    return bool(section) and any(bytes.fromhex(number) in section for number in ids)


def covers(pattern: str, topic: str) -> bool:
    """Does a pattern take a topic? ``*`` is one level, ``**`` at the end one or more."""
    return bool(topic) and "*" not in topic and meet(pattern, topic) == topic


def meet(one: str, other: str) -> str | None:
    """The pattern of exactly those topics that both take, or None."""
    left, right = one.split("/"), other.split("/")
    common: list[str] = []
    for index, (here, there) in enumerate(zip(left, right, strict=False)):
        if "**" in (here, there):
            return "/".join(common + (right if here == "**" else left)[index:])
        if here != there and "*" not in (here, there):
            return None
        common.append(there if here == "*" else here)
    return "/".join(common) if len(left) == len(right) else None


def is_pattern(text: str) -> bool:
    """Is it a pattern of topics: no empty level, stars alone, ``**`` only at the end."""
    levels = text.split("/")
    return all(levels) and all(
        "*" not in level or level == "*" or (level == "**" and index == len(levels) - 1)
        for index, level in enumerate(levels)
    )


def _common_prefixes(ours: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[str, ...]:
    """Of each two the longer one, where it begins with the other."""
    both = [max(a, b, key=len) for a in ours for b in theirs if a.startswith(b) or b.startswith(a)]
    return tuple(dict.fromkeys(both))
