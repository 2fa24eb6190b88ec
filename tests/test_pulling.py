"""Pulling: over a link that is there, from the next provider, and nothing of a wrong object."""

import io
import os

import pytest
from blake3 import blake3

from overlay_edge.errors import Refused, TransportError
from overlay_edge.host.journal import Journal
from overlay_edge.meshguard import MeshGuard
from overlay_edge.proto.effects import Fetch
from overlay_edge.proto.gossip_message import NOBODY, Contact
from overlay_edge.pulling import Puller, get_over
from tests.support.edge import Edge, edge
from tests.support.meshed import MESHED, meshed, port

DATA = os.urandom(200_000)
ADDR = f"b3:{blake3(DATA).hexdigest()}"


def puller(running: Edge) -> Puller:
    store = running.node.view.store
    assert store is not None
    return Puller(store, MeshGuard(running.node._authority), Journal("error", lambda _: None))


async def stored(running: Edge) -> Contact:
    async with running.client() as client:
        assert await client.put(io.BytesIO(DATA), len(DATA)) == ADDR
    return Contact(port(running).id, running.oap)


async def test_a_provider_that_is_a_neighbour_is_asked_over_the_link_there_is() -> None:
    async with meshed(2) as (one, two):
        provider = await stored(one)
        before = one.node.view.tally.attempts
        assert await puller(two).pull(Fetch(ADDR, len(DATA), "t", (provider,)), port(two).links)
        assert one.node.view.tally.attempts == before
        (found,) = port(two).links
        assert not found.asked


async def test_any_other_is_dialled_and_the_next_is_asked_if_one_has_nothing() -> None:
    async with edge(MESHED) as one, edge(MESHED) as two:
        nobody = Contact(NOBODY, "127.0.0.1:1")
        providers = (nobody, await stored(one))
        assert await puller(two).pull(Fetch(ADDR, len(DATA), "t", providers), port(two).links)
        assert two.node.view.counters().store_objects == 1
        again = Fetch(ADDR, len(DATA), "t", (nobody,))
        assert await puller(two).pull(again, port(two).links)  # it is here already


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1, 1 << 50])
async def test_what_is_not_as_long_as_was_said_is_thrown_away(size: int) -> None:
    async with meshed(2) as (one, two):
        provider = await stored(one)
        assert not await puller(two).pull(Fetch(ADDR, size, "t", (provider,)), port(two).links)
        counters = two.node.view.counters()
        assert (counters.store_objects, counters.store_bytes) == (0, 0)


async def test_an_object_that_is_not_there_and_a_link_that_ends_are_told() -> None:
    async with meshed(2) as (one, two):
        found = port(two).links.to(port(one).id)
        assert found is not None
        with pytest.raises(Refused, match="not here"):
            await get_over(found.link, found.asked, ADDR, print, cap=b"")
        found.link.abort("cut")
        with pytest.raises(TransportError):
            await get_over(found.link, found.asked, ADDR, print, cap=b"")
