"""The client's side of publish and subscribe."""

import asyncio
import io

import pytest

from overlay_edge.errors import TransportError
from overlay_edge.gossip_client import publish, subscribe
from overlay_edge.proto.effects import Deliver, Gapped
from tests.support.edge import edge
from tests.support.meshed import MESHED, port, until


async def test_an_empty_message_is_a_message() -> None:
    async with edge(MESHED) as one, one.client() as client:
        said = await publish(client, "t", io.BytesIO(), 0)
        assert (said["outcome"], said["reason"], said["seq"]) == ("queued", "alone", 1)


async def test_a_subscriber_hears_what_is_published_on_its_own_node_and_hanging_up_ends_it() -> (
    None
):
    told: list[Deliver | Gapped] = []
    begun = asyncio.Event()
    async with edge(MESHED) as one:
        async with one.client() as client:
            hearing = asyncio.create_task(subscribe(client, "t", told.append, on_begun=begun.set))
            await asyncio.wait_for(begun.wait(), 10)
            for number in range(3):
                await publish(client, "t", io.BytesIO(b"%d" % number), 1)
            await until(lambda: len(told) == 3)
        with pytest.raises(TransportError):
            await hearing
        await until(lambda: port(one).stats()["subscriptions"] == 0)
    assert [event.data for event in told if isinstance(event, Deliver)] == [b"0", b"1", b"2"]
