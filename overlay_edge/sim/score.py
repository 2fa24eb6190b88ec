"""Score: who got what, when, over how many hops; and is every message accounted for."""

from dataclasses import dataclass, field

from overlay_edge.proto.effects import Deliver, Gapped
from overlay_edge.sim.network import Board

Name = tuple[bytes, int, int]  # publisher, epoch, seq


@dataclass(slots=True)
class Published:
    """One message.

    Attributes:
        at: When.
        by: Which board.
        heard: One byte for each board: 1 = delivered, 2 = told as a gap.
        last_at: When the last board got it.
        last_hop: Over how many links.
    """

    at: float
    by: int
    heard: bytearray
    last_at: float = 0.0
    last_hop: int = 0


@dataclass(slots=True)
class Score:
    """What the boards were told.

    Attributes:
        messages: By name, in the order they were published.
        doubles: Deliveries of what that board had, or had been told as a gap.
        strangers: Deliveries of what nobody published.
        times: When each delivery was, and after how long.
    """

    boards: int
    messages: dict[Name, Published] = field(default_factory=dict)
    doubles: int = 0
    strangers: int = 0
    gaps: int = 0
    times: list[tuple[float, float]] = field(default_factory=list)
    _early: list[tuple[Board, Deliver, float]] = field(default_factory=list)

    def published(self, name: Name, by: int, at: float) -> None:
        """A board published; what it delivered to itself meanwhile is counted now."""
        self.messages[name] = Published(at, by, bytearray(self.boards), at)
        early, self._early = self._early, []
        for board, deliver, when in early:
            self.told(board, deliver, when)

    def told(self, board: Board, what: Deliver | Gapped, at: float) -> None:
        """A board was told something."""
        if isinstance(what, Gapped):
            for seq in range(what.first, what.last + 1):
                message = self.messages.get((what.publisher, what.epoch, seq))
                if message is not None:
                    self.doubles += message.heard[board.index] != 0
                    message.heard[board.index] = 2
                    self.gaps += 1
            return
        message = self.messages.get((what.publisher, what.epoch, what.seq))
        if message is None:
            if what.publisher == board.contact.node:
                self._early.append((board, what, at))
            else:
                self.strangers += 1
            return
        if message.heard[board.index]:
            self.doubles += 1
            return
        message.heard[board.index] = 1
        self.times.append((at, at - message.at))
        message.last_at = at
        message.last_hop = max(message.last_hop, what.hop)

    def awaited(self, boards: list[Board]) -> int:
        """Deliveries that have neither come nor been told as a gap, for these boards.

        A message whose publisher crashed before anybody else had it was never published, as
        far as those who are left can know.
        """
        number = 0
        for message in self.messages.values():
            heard = [message.heard[board.index] for board in boards]
            if any(heard):
                number += heard.count(0)
        return number

    def gapped(self, boards: list[Board]) -> int:
        """Deliveries that were told as a gap, for these boards."""
        return sum(
            message.heard[board.index] == 2
            for message in self.messages.values()
            for board in boards
        )
