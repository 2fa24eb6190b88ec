"""Publisher: the numbers of this node's own messages.

    start    epoch = the time of start << 16     topic a: (epoch, 1), (epoch, 2) ...
    then     one more for each further topic     topic b: (epoch + 1, 1), (epoch + 1, 2) ...

An epoch belongs to one topic, since a message's id knows none. A clock that went backwards
would give numbers that others take for old: whoever hears of a later epoch of itself goes on
above that one.
"""

EPOCHS_PER_MS = 16  # bits: a start a millisecond later is above all topics of this one
MAX_EPOCH = (1 << 63) - 1  # beyond it there is nothing to go on with: not believed


class Publisher:
    """One node's numberings.

    Args:
        started_ms: Wall clock of the start, milliseconds since 1970.
    """

    def __init__(self, started_ms: int) -> None:
        self.first_epoch = started_ms << EPOCHS_PER_MS
        self._next_epoch = self.first_epoch
        self._topics: dict[str, tuple[int, int]] = {}  # epoch and last number

    def __contains__(self, topic: str) -> bool:
        return topic in self._topics

    def __len__(self) -> int:
        return len(self._topics)

    def number(self, topic: str) -> tuple[int, int]:
        """Epoch and number of the next message of a topic."""
        epoch, seq = self._topics.get(topic, (0, 0))
        if not seq:
            epoch = self._next_epoch
            self._next_epoch += 1
        self._topics[topic] = (epoch, seq + 1)
        return epoch, seq + 1

    def heard(self, topic: str, epoch: int, seq: int) -> bool:
        """Say whether a number under our name is not ours, and never use one below it."""
        if epoch < self.first_epoch:
            return False  # of an earlier life
        if self._topics.get(topic, (-1, 0))[0] == epoch and seq <= self._topics[topic][1]:
            return False
        if epoch <= MAX_EPOCH:
            self._next_epoch = max(self._next_epoch, epoch + 1)
            # What is numbered below it would be old to whoever believed it.
            if self._topics.get(topic, (epoch + 1, 0))[0] <= epoch:
                del self._topics[topic]
        return True

    def forget(self, topic: str) -> None:
        """Nothing was published there for long; should it be again, in another epoch."""
        self._topics.pop(topic, None)
