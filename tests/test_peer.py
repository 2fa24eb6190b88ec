"""One connection: what is remembered of it, and how a call ends."""

import asyncio

import pytest

from overlay_edge.errors import TransportError
from overlay_edge.peer import MAX_USED, Called, Peer, settle


def test_a_capability_is_new_once_and_only_so_many_are_remembered() -> None:
    peer = Peer("10.0.0.1", 1)
    assert peer.is_first_use("a")
    assert not peer.is_first_use("a")
    for number in range(MAX_USED):
        peer.is_first_use(str(number))
    assert len(peer.used) <= MAX_USED


async def test_a_call_ends_once_and_the_first_word_counts() -> None:
    greeted = Called(lambda _: b"", lambda link, hello: None)
    settle(greeted.done)
    settle(greeted.done, TransportError("late"))
    assert greeted.done.result() is None
    failed = Called(lambda _: b"", lambda link, hello: None)
    settle(failed.done, TransportError("nobody"))
    with pytest.raises(TransportError, match="nobody"):
        async with asyncio.timeout(1):
            await failed.done
