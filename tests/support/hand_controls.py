"""A node that lets everything be done to it, and remembers what was."""

from dataclasses import dataclass, field

from overlay_edge.ending import Ending
from overlay_edge.errors import EdgeError, Refused


@dataclass
class HandControls:
    """Controls whose answers are its fields."""

    done: list[tuple[object, ...]] = field(default_factory=list)
    error: EdgeError | None = None
    neighbours: list[dict[str, object]] = field(default_factory=list)
    streams: list[dict[str, object]] = field(default_factory=list)
    stats: dict[str, int] = field(default_factory=dict)

    def _note(self, *what: object) -> None:
        if self.error:
            raise self.error
        self.done.append(what)

    async def purge(self, *, addr: str | None = None, topic: str | None = None) -> dict[str, int]:
        self._note("purge", addr, topic)
        return {"objects": 3, "uploads": 1, "bytes": 4096}

    async def reload(self) -> tuple[int, tuple[str, ...]]:
        self._note("reload")
        return 2, ("peer.max_rps: 500 -> 7",)

    async def revoke(self, revocation_id: str) -> dict[str, int]:
        self._note("revoke", revocation_id)
        return {"objects": 2, "uploads": 0, "bytes": 9, "sessions": 1}

    def rotate(self, key: str, overlap_s: float) -> None:
        self._note("rotate", key, overlap_s)

    def peers(self) -> dict[str, object]:
        self._note("peers")
        return {"id": "ab" * 32, "addr": "", "peers": list(self.neighbours), "stats": self.stats}

    def ledger(self) -> dict[str, object]:
        self._note("ledger")
        return {"id": "ab" * 32, "streams": list(self.streams)}

    def panic(self) -> dict[str, int]:
        self._note("panic")
        return {"objects": 3, "uploads": 1, "bytes": 4096, "sessions": 2}

    def vanish(self) -> None:
        self._note("vanish")

    def stop(self, then: Ending) -> None:
        self._note("stop", then)


def authorize(token: str) -> str:
    """Believes one token."""
    if token != "good":
        raise Refused(401, "unauth", "not a capability")
    return "4f2a4f2a4f2a"
