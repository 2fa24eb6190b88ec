"""A mesh of nodes in one loop: what one publishes, every subscriber of every node gets once."""

import asyncio
from collections.abc import AsyncIterator

from overlay_edge.proto.effects import Accepted, Deliver, Gapped, Outcome, Shed


class FakeHearing:
    """One subscription."""

    def __init__(self, port: "FakePort") -> None:
        self._queue: asyncio.Queue[Deliver | Gapped | None] = asyncio.Queue()
        self._port = port

    def put(self, event: Deliver | Gapped) -> None:
        self._queue.put_nowait(event)

    def take(self) -> Deliver | None:
        """The next message, if it has come."""
        event = None if self._queue.empty() else self._queue.get_nowait()
        assert not isinstance(event, Gapped)
        return event

    def __len__(self) -> int:
        return self._queue.qsize()

    async def __aiter__(self) -> AsyncIterator[Deliver | Gapped]:
        while (event := await self._queue.get()) is not None:
            yield event

    def close(self) -> None:
        for hearings in self._port.hearings.values():
            if self in hearings:
                hearings.remove(self)
        self._queue.put_nowait(None)


class FakePort:
    """One node's end of the mesh."""

    def __init__(self, mesh: "FakeMesh", id: bytes) -> None:
        self.id = id
        self.hearings: dict[str, list[FakeHearing]] = {}
        self.sheds: list[Shed] = []  # what the next calls are answered with
        self.seqs: dict[str, int] = {}
        self._mesh = mesh

    def publish(self, topic: str, data: bytes = b"", *, addr: str = "", size: int = 0) -> Outcome:
        if self.sheds:
            return self.sheds.pop(0)
        if len(data) > 65_536:
            return Shed("too_large", 0)
        seq = self.seqs[topic] = self.seqs.get(topic, 0) + 1
        epoch = 1 + list(self.seqs).index(topic)
        self._mesh.spread(Deliver(topic, self.id, epoch, seq, data, addr, size, 1))
        return Accepted(epoch, seq)

    def subscribe(self, topic: str) -> FakeHearing:
        hearing = FakeHearing(self)
        self.hearings.setdefault(topic, []).append(hearing)
        return hearing


class FakeMesh:
    """All nodes, each reachable from each."""

    def __init__(self, *names: int) -> None:
        self.ports = [FakePort(self, bytes([name]) * 32) for name in names]

    def spread(self, event: Deliver | Gapped) -> None:
        for port in self.ports:
            for hearing in port.hearings.get(event.topic, []):
                hearing.put(event)
