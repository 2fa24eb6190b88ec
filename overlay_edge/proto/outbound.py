"""Outbound: the requests we have open with a peer."""

from dataclasses import dataclass

from overlay_edge.proto.compression import inflate
from overlay_edge.proto.events import Responded
from overlay_edge.proto.flow import Allowance, Outbox, Sender, Source, Window, bulk_of
from overlay_edge.proto.frame import END, REQ, START, Frame
from overlay_edge.proto.inbound import count_bulk
from overlay_edge.proto.message import control_frame


@dataclass(slots=True, eq=False)
class Asked:
    """One request of ours.

    Attributes:
        sender: Its bytes, going out.
        window: The answer's bulk: granted, received, consumed.
    """

    sender: Sender
    window: Window
    has_answer: bool = False


class Outbound:
    """Our open requests. Their number is the owner's to bound: it knows the peer's limit.

    Args:
        outbox: Where frames go.
        first_corr_id: 1 or 2: the two ends draw from different halves, so that a number
            means one stream.
    """

    def __init__(self, outbox: Outbox, first_corr_id: int) -> None:
        self._outbox = outbox
        self._next_corr_id = first_corr_id
        self._open: dict[int, Asked] = {}
        # Answers nobody waits for any more. The contract has no way to stop them, so they are
        # taken and thrown away: a peer left without credit would hold them open for ever.
        self._unwanted: dict[int, Window] = {}

    def __len__(self) -> int:
        return len(self._open)

    def get(self, corr_id: int) -> Asked | None:
        """The open request of that number."""
        return self._open.get(corr_id)

    def ask(
        self, app: int, payload: bytes, source: Source | None, cap: bytes, first_credit: int
    ) -> int:
        """Send a request's head, and its bulk as the peer allows; return its number."""
        corr_id = self._next_corr_id
        self._next_corr_id += 2
        flags = REQ | START | (0 if source else END)
        head = Frame(flags, app=app, corr_id=corr_id, cap=cap, payload=payload)
        sender = Sender(head, source, bulk_of(head, 0), Allowance(first_credit))
        self._open[corr_id] = Asked(sender, Window(first_credit))
        self._outbox.add(sender)
        return corr_id

    def receive(self, frame: Frame) -> Responded | None:
        """Take a RESP frame; None = the tail of an answer nobody waits for any more.

        Raises:
            PeerViolation: The link must end.
        """
        asked = self._open.get(frame.corr_id)
        if asked is None:
            self._discard(frame)
            return None
        is_first, asked.has_answer = not asked.has_answer, True
        is_last = bool(frame.flags & END)
        payload = inflate(frame)
        is_refusal = is_last and frame.code >= 400  # no bulk: it may come when no credit is left
        if not is_first and not is_refusal:
            count_bulk(asked.window, payload)
        if is_last:
            self._forget(frame.corr_id)
        return Responded(frame.corr_id, frame.code, payload, is_first, is_last)

    def cancel(self, corr_id: int) -> None:
        """Forget a request; what still comes of its answer is dropped."""
        asked = self._forget(corr_id)
        if asked is not None and asked.sender.head is None:  # else the peer never heard of it
            self._unwanted[corr_id] = asked.window
            self._swallow(corr_id, asked.window)

    def close(self) -> None:
        """The link is gone, and every request with it."""
        self._open.clear()
        self._unwanted.clear()

    def _forget(self, corr_id: int) -> Asked | None:
        asked = self._open.pop(corr_id, None)
        if asked is None:
            return None
        sender = asked.sender
        is_cut = sender.head is None and not sender.is_done
        self._outbox.remove(sender)
        if is_cut:  # the answer came before our last byte: end it, so that the peer can forget it
            end = Frame(REQ | END, app=sender.bulk.app, corr_id=corr_id)
            self._outbox.push_control(end)
        return asked

    def _discard(self, frame: Frame) -> None:
        window = self._unwanted.get(frame.corr_id)
        if window is None:
            return
        if frame.flags & END:
            del self._unwanted[frame.corr_id]
        elif not frame.flags & START:
            window.receive(len(frame.payload))
            self._swallow(frame.corr_id, window)

    def _swallow(self, corr_id: int, window: Window) -> None:
        if (grant := window.consume(window.held)) is not None:
            self._outbox.push_control(control_frame({"credit": grant}, corr_id))
