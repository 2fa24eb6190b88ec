"""Labels: who stored an object, and under which topics; what it can be wiped by.

Neither is kept as it came: of each revocation id and each topic only the beginning of a digest
is, so that what is held for an object is small, and tells nobody who reads it anything.

Both are bounded, and what is over the bound errs towards wiping:

    a ninth depositor is not remembered     the object goes when the eight are revoked
    a fifth topic makes it one of all       the object goes with any topic
"""

from collections.abc import Collection

from blake3 import blake3

MAX_DEPOSITORS = 8  # capabilities that stored the same bytes
MAX_TOPICS = 4
MARK_BYTES = 8  # of a digest; two that meet by chance, one in 2^64, err towards wiping
MAX_LABELS_BYTES = 2048  # of one object: 8 depositors of up to 16 ids, 4 topics, and Python's part


class Labels:
    """The labels of one object, or of an upload in progress.

    Args:
        depositor: Revocation ids (hex) of the capability that brings it; empty = none did.
        topic: What it is about; None = nothing said.
    """

    __slots__ = ("_depositors", "_topics")

    def __init__(self, depositor: Collection[str] = (), topic: str | None = None) -> None:
        # Without ids it is a depositor, too: one that no id can revoke.
        self._depositors: tuple[bytes, ...] = (b"".join(map(mark, depositor)),)
        self._topics: tuple[bytes, ...] | None = () if topic is None else (mark(topic),)

    @property
    def depositors(self) -> int:
        """How many are remembered."""
        return len(self._depositors)

    def merge(self, others: "Labels") -> None:
        """The same bytes came again, with other labels."""
        both = dict.fromkeys((*self._depositors, *others._depositors))
        self._depositors = tuple(both)[:MAX_DEPOSITORS]
        if self._topics is None or others._topics is None:
            self._topics = None
            return
        topics = tuple(dict.fromkeys((*self._topics, *others._topics)))
        self._topics = topics if len(topics) <= MAX_TOPICS else None

    def has_topic(self, topic: bytes) -> bool:
        """Is it about the topic of this mark?"""
        return self._topics is None or topic in self._topics

    def revoke(self, ids: Collection[bytes]) -> bool:
        """Forget the depositors that have an id of these marks.

        Returns:
            True if nobody is left.
        """
        self._depositors = tuple(
            depositor
            for depositor in self._depositors
            if not any(
                depositor[at : at + MARK_BYTES] in ids
                for at in range(0, len(depositor), MARK_BYTES)
            )
        )
        return not self._depositors


def mark(text: str) -> bytes:
    """What is kept of a revocation id or a topic."""
    return blake3(text.encode()).digest(MARK_BYTES)
