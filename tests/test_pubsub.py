"""The gossip requests of one link: bounded, and nothing of one that is gone stays."""

import io

import pytest

from overlay_edge.errors import Refused
from overlay_edge.gossip_client import publish
from overlay_edge.proto.effects import Deliver
from overlay_edge.proto.frame import App
from overlay_edge.pubsub import MAX_HELD_BYTES, RecordSource
from overlay_edge.subscriptions import Subscriptions
from tests.support.edge import edge
from tests.support.meshed import MESHED, port, until

SIZE = 60_000


async def test_messages_that_are_begun_and_not_finished_are_bounded_and_go_with_their_link() -> (
    None
):
    async with edge(MESHED) as one:
        pool = one.node._shared.pool
        async with one.client() as client:
            assert client.link.session is not None
            head = b'{"op":"publish","topic":"t","size":%d}' % SIZE
            for _ in range(MAX_HELD_BYTES // SIZE):
                client.link.session.request(App.GOSSIP, head, source=_Never())
            client.link.pump()
            await until(lambda: pool.used_bytes >= MAX_HELD_BYTES // SIZE * SIZE)
            with pytest.raises(Refused, match="on their way") as caught:
                await publish(client, "t", io.BytesIO(bytes(SIZE)), SIZE)
            assert (caught.value.code, caught.value.token) == (503, "busy")
        await until(lambda: pool.used_bytes == 0)


async def test_a_subscription_goes_with_its_link() -> None:
    async with edge(MESHED) as one:
        async with one.client() as client:
            assert client.link.session is not None
            client.link.session.request(App.GOSSIP, b'{"op":"subscribe","topic":"t"}')
            client.link.pump()
            await until(lambda: port(one).stats()["subscriptions"] == 1)
        await until(lambda: port(one).stats()["subscriptions"] == 0)
        assert not port(one).machine.delivery.topics.subscribed


async def test_a_subscription_with_bytes_and_a_message_no_store_holds_are_refused() -> None:
    async with edge(MESHED) as one, one.client() as client:
        with pytest.raises(Refused, match="without bytes"):
            await client.call(
                App.GOSSIP, b'{"op":"subscribe","topic":"t"}', lambda _: None, _Never()
            )
        with pytest.raises(Refused) as caught:
            await client.call(
                App.GOSSIP,
                b'{"op":"publish","topic":"t","size":%d}' % (1 << 40),
                lambda _: None,
                _Never(),
            )
        assert caught.value.code == 413
        assert await client.echo(b"x") == b"x"


def test_a_source_of_records_waits_while_there_is_nothing_and_ends_with_its_subscription() -> None:
    subscriptions = Subscriptions()
    subscription = subscriptions.add("t")
    source = RecordSource(subscription)
    assert source.read(100) is None
    subscriptions.offer(Deliver("t", bytes(32), 1, 1, bytes(500), "", 0, 1))
    first = source.read(100)
    assert first is not None
    assert (len(first[0]), first[1]) == (100, False)
    subscription.close()
    parts = []
    while True:
        piece, is_last = source.read(100)  # type: ignore[misc]
        parts.append(piece)
        if is_last:
            break
    assert len(b"".join(parts)) > 400
    source.close()
    assert subscriptions.held_bytes == 0


class _Never:
    def read(self, limit: int) -> None:
        return None

    def close(self) -> None:
        pass
