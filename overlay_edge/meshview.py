"""Meshview: what the mesh shows of itself, as plain values for pages and tools."""

import asyncio
from collections.abc import Callable
from typing import Any

from overlay_edge.bus import Bus, GossipRx, GossipTx
from overlay_edge.meshlinks import PING_S, MeshLinks
from overlay_edge.proto.gossip import Mesh
from overlay_edge.subscriptions import Subscriptions

SUMMARY_S = 1.0  # how often the bus hears of frames, if there were any
SHED = {1: "control", 2: "eager", 3: "lazy"}  # by rank; rank 0 ends its link instead


def peers(machine: Mesh, links: MeshLinks, *, now: float) -> list[dict[str, Any]]:
    """The neighbours."""
    return [
        {
            "id": row.peer.hex(),
            "addr": row.addr,
            "role": row.role,
            "outbound": row.is_outbound,
            "rtt_ms": round(1000 * row.rtt_s, 1),
            "score": round(row.score, 1),
            "congested": (one := links.to(row.peer)) is not None and one.is_congested,
            "faults": [{"fault": name, "ago_s": round(now - at, 1)} for name, at in row.faults],
        }
        for row in machine.peers(now=now)
    ]


def ledger(machine: Mesh) -> list[dict[str, Any]]:
    """What became of every message known of: ``delivered + gapped + pending = published``."""
    return [
        {
            "topic": one.topic,
            "publisher": one.publisher.hex(),
            "epoch": one.epoch,
            "published": one.top,
            "delivered": one.delivered,
            "gapped": one.gapped,
            "pending": one.missing,
            "gaps": [list(pair) for pair in one.gaps],
        }
        for one in machine.delivery.ledger.accounts()
    ]


def stats(machine: Mesh, links: MeshLinks, subscriptions: Subscriptions) -> dict[str, int]:
    """Counters since the start, and sizes now."""
    shed = links.shed_now()
    return {
        **machine.stats(),
        "links": links.count,
        "subscriptions": len(subscriptions),
        "shed_subscriber_slow": subscriptions.lost_total,
        "held_bytes": machine.held_bytes + subscriptions.held_bytes + links.held_bytes,
        **{f"shed_{name}_slow": shed[rank] for rank, name in SHED.items()},
    }


class Summary:
    """Tells the bus now and then how much comes and goes: never of each frame.

    Args:
        bus: Told.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._came, self._went = (0, 0), (0, 0)

    def came(self, size: int) -> None:
        """A frame came."""
        self._came = (self._came[0] + 1, self._came[1] + size)

    def went(self, size: int) -> None:
        """A frame is to be sent."""
        self._went = (self._went[0] + 1, self._went[1] + size)

    def tell(self) -> None:
        """Publish what there was since the last time, if there was anything."""
        if self._came[0]:
            self._bus.publish(GossipRx(*self._came))
        if self._went[0]:
            self._bus.publish(GossipTx(*self._went))
        self._came, self._went = (0, 0), (0, 0)


async def beat(summary: Summary, links: Callable[[], MeshLinks]) -> None:
    """Tell the bus how much comes and goes, and measure the links, for ever."""
    beats = 0
    while True:
        await asyncio.sleep(SUMMARY_S)
        beats += 1
        summary.tell()
        if beats % PING_S == 0:
            for found in links():
                links().ping(found)
