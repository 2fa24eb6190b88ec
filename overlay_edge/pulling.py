"""Pulling: an object whose address was published, from a node that has it, into the store.

The bytes come as the answer to a request, with credit, over the link to the provider if there
is one, else over one of its own. Nobody is believed: the store compares the digest.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from overlay_edge.client import connect
from overlay_edge.errors import EdgeError, TransportError
from overlay_edge.host.clock import monotonic
from overlay_edge.host.journal import Journal
from overlay_edge.link import Link
from overlay_edge.meshguard import MeshGuard
from overlay_edge.proto.effects import Fetch
from overlay_edge.proto.events import Responded
from overlay_edge.proto.frame import App, encode_json
from overlay_edge.proto.gossip_message import Contact
from overlay_edge.proto.message import read_refusal
from overlay_edge.store.cache import ObjectStore, Upload

if TYPE_CHECKING:
    from overlay_edge.meshlinks import MeshLinks

MAX_PULLS = 4  # objects at one time
PULL_S = 120.0  # the largest object over a slow link; then it is a gap
Sink = Callable[[bytes], object]


class Asked:
    """One object that is asked for over a link.

    Args:
        sink: Takes its bytes.

    Attributes:
        done: Over when all have come, or none will.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, reason: str) -> None:
        """No more will come."""
        self._end(TransportError(reason))

    def took(self, link: Link, event: Responded) -> None:
        """A frame of the answer came."""
        if self.done.done():
            return
        if event.code >= 400:
            self._end(read_refusal(event.code, event.payload))
            return
        try:
            if not event.is_first:
                self._sink(event.payload)
                if link.session is not None:
                    link.session.consumed(event.corr_id, len(event.payload))
        except EdgeError as error:
            self._end(error)
            return
        if event.is_last:
            self.done.set_result(None)

    def _end(self, error: EdgeError) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # seen: whoever waits may have given up


async def get_over(
    link: Link, asked: dict[int, Asked], addr: str, sink: Sink, *, cap: bytes
) -> None:
    """Pull an object over a link that is there.

    Args:
        link: To a node that has it.
        asked: Where the link's events find the request.
        addr: The object.
        sink: Takes its bytes, in order.
        cap: Capability to ask with, or empty.

    Raises:
        EdgeError: It cannot be had there.
    """
    session = link.session
    if session is None:
        raise TransportError("the link is gone")
    request = encode_json({"op": "get", "addr": addr})
    corr_id = session.request(App.OBJECTS, request, cap=cap)
    one = asked[corr_id] = Asked(sink)
    link.pump()
    try:
        await one.done
    finally:
        asked.pop(corr_id, None)
        session.cancel(corr_id)
        link.pump()


class Puller:
    """Pulls objects into the store.

    Args:
        store: Where they are put.
        guard: Shows the capability to ask with.
        journal: Told of providers that do not have what they said.
    """

    def __init__(self, store: ObjectStore, guard: MeshGuard, journal: Journal) -> None:
        self._store = store
        self._guard = guard
        self._journal = journal
        self._places = asyncio.Semaphore(MAX_PULLS)

    async def pull(self, fetch: Fetch, links: "MeshLinks") -> bool:
        """Pull an object from one of its providers, each asked in turn; True = it is here."""
        with suppress(TimeoutError):
            async with self._places, asyncio.timeout(PULL_S):
                for provider in fetch.providers:
                    if await self._pull_from(provider, fetch, links):
                        return True
        return self._store.get(fetch.addr, now=monotonic()) is not None

    async def _pull_from(self, provider: Contact, fetch: Fetch, links: "MeshLinks") -> bool:
        upload: Upload | None = None
        try:
            now = monotonic()
            if self._store.get(fetch.addr, now=now) is not None:
                return True
            upload = self._store.begin(fetch.size, fetch.addr, topic=fetch.topic, now=now)
            found = links.to(provider.node)
            if found is not None:
                await get_over(
                    found.link,
                    found.asked,
                    fetch.addr,
                    upload.write,
                    cap=self._guard.section(found.link),
                )
            else:
                cap, sign = self._guard.cap, self._guard.sign
                async with connect(provider.addr, cap=cap, sign=sign) as client:
                    await client.get(fetch.addr, upload.write)
            upload.commit(now=monotonic())
        except (EdgeError, ValueError) as error:  # an address may be anything
            self._journal.debug("mesh_pull", peer_addr=provider.addr, reason=str(error))
            return False
        finally:
            if upload is not None:
                upload.abort()
        return True
