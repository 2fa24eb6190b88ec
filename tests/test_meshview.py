"""What the mesh shows: plain values, the same for pages and metrics."""

import json

from overlay_edge.bus import Bus, GossipRx, GossipTx, Topic
from overlay_edge.meshview import Summary
from tests.support.meshed import heard, meshed, port


async def test_everything_that_is_shown_can_be_printed_and_adds_up() -> None:
    async with meshed(2) as (one, two):
        subscription = port(two).subscribe("t")
        port(one).publish("t", b"x")
        await heard(subscription)
        shown = json.loads(json.dumps([port(two).peers(), port(two).ledger(), port(two).stats()]))
        (peer,), (stream,), stats = shown
        assert peer["id"] == port(one).id.hex()
        assert stream["delivered"] + stream["gapped"] + stream["pending"] == stream["published"]
        assert (stats["active"], stats["links"], stats["subscriptions"]) == (1, 1, 1)
        assert stats["held_bytes"] > 0


async def test_the_bus_hears_how_much_came_and_went_and_nothing_when_nothing_did() -> None:
    bus = Bus()
    heard_of = bus.subscribe(Topic.OVERLAY)
    summary = Summary(bus)
    for size in (10, 20):
        summary.came(size)
    summary.went(5)
    summary.tell()
    summary.tell()
    assert await anext(heard_of) == GossipRx(2, 30)
    assert await anext(heard_of) == GossipTx(1, 5)
    assert heard_of.depth == 0
