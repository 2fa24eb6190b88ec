"""Writer: what leaves next, from the control lane and the open streams."""

from overlay_edge.errors import EdgeError
from overlay_edge.proto.events import CaughtUp, Event
from overlay_edge.proto.flow import SMALL_BATCH_BYTES, Outbox, Sender, frame_bytes
from overlay_edge.proto.frame import END, REQ, RESP, START, Frame, FrameCounts, encode
from overlay_edge.proto.inbound import Inbound
from overlay_edge.proto.lane import EventLane
from overlay_edge.proto.message import as_refused


class Writer:
    """Takes batches out of an outbox, and ends the requests whose answers have left.

    Args:
        outbox: What waits.
        inbound: The requests that answers belong to.
        sent: Where frames are counted.
    """

    def __init__(self, outbox: Outbox, inbound: Inbound, sent: FrameCounts) -> None:
        self._outbox = outbox
        self._inbound = inbound
        self._sent = sent

    def take(self, *, bulk: bool, now: float) -> tuple[bytes, list[Event], bool]:
        """Return a batch, what came of it, and was there bulk that the peer asked for.

        Args:
            bulk: Take from the open streams, too: at most one chunk.
            now: Monotonic seconds.
        """
        found: list[Event] = []
        parts = self._outbox.take_control()
        self._sent.control += len(parts)
        taken, has_bulk = 0, False
        while bulk and taken < SMALL_BATCH_BYTES:
            sender = self._outbox.next_sender()
            if sender is None:
                break
            if isinstance(sender, EventLane):
                frame = self._next_event(sender, found)
            else:
                frame = self._next_frame(sender, found, now)
                has_bulk = has_bulk or frame is not None
            if frame is not None:
                parts.append(encode(frame))
                self._sent.count(frame.app)
                taken += frame_bytes(frame)
        # What a source set off just now, a grant or a refusal, belongs in this write, too.
        late = self._outbox.take_control()
        self._sent.control += len(late)
        return b"".join(parts + late), found, has_bulk

    def _next_event(self, lane: EventLane, found: list[Event]) -> Frame | None:
        frame = lane.pop()
        if frame is None:  # thrown away meanwhile
            self._outbox.park(lane)
        elif lane:
            self._outbox.put_back(lane, frame_bytes(frame))
        else:
            self._outbox.park(lane)
        if lane.caught_up():
            found.append(CaughtUp())
        return frame

    def _next_frame(self, sender: Sender, found: list[Event], now: float) -> Frame | None:
        corr_id = sender.bulk.corr_id
        request = self._inbound.get(corr_id) if sender.bulk.flags & RESP else None
        frame, failure = None, None
        try:
            frame = sender.next_frame()
        except EdgeError as error:
            failure = error
        if request is not None and self._inbound.get(corr_id) is not request:
            sender.close()  # what reading its source set off has ended it: nothing may follow
            return None
        if failure is not None:
            if request is not None:
                found.append(self._inbound.abandon(request, as_refused(failure), now=now))
                return None
            # Ours: end it short, and the peer refuses what it does not find complete.
            return Frame(REQ | END, app=sender.bulk.app, corr_id=corr_id)
        if request is not None and frame is not None:
            request.answered = now
        if frame is None:
            self._outbox.park(sender)
        elif not sender.is_done:
            self._outbox.put_back(sender, 0 if frame.flags & START else len(frame.payload))
        elif request is not None:
            self._inbound.end(request, 200, "", now=now)
        return frame
