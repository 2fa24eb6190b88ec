"""Operations: what an operator may do to a running node.

What wipes is done when it returns: bytes are overwritten, and what was let go of is collected,
as the traceback of an error, or a cycle, may hold the last copy of a payload.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from overlay_edge.ending import Ending
from overlay_edge.errors import ConfigError, Refused
from overlay_edge.host.clock import wall
from overlay_edge.host.heap import collect
from overlay_edge.link import Link
from overlay_edge.panic import Panic
from overlay_edge.peers import Peers
from overlay_edge.proto.authority import Authority
from overlay_edge.reload import Reloader
from overlay_edge.store.cache import ObjectStore
from overlay_edge.store.wiping import Cause, purged

if TYPE_CHECKING:
    from overlay_edge.mesh import MeshPort

LEAVE_S = 3.0  # a refused peer that does not hang up is cut off after a third of it


class Operations:
    """What the control plane carries out.

    Args:
        store: The node's objects.
        authority: Who may do what.
        peers: Its links.
        reloader: Reads the settings again.
        stop: Begins the drain, and says what is to come after it.
        panic: Ends everything at once.
    """

    def __init__(
        self,
        store: ObjectStore,
        authority: Authority,
        peers: Peers,
        reloader: Reloader[Any],
        stop: Callable[[Ending], None],
        panic: Panic,
    ) -> None:
        self._store = store
        self._authority = authority
        self._peers = peers
        self._reloader = reloader
        self._panic = panic
        self.stop = stop

    async def purge(
        self,
        *,
        addr: str | None = None,
        topic: str | None = None,
        cause: Cause = Cause.PURGE,
    ) -> dict[str, int]:
        """Wipe one object, what is about a topic, or with neither everything.

        Everything includes what links hold: their requests are refused, their sessions stay.

        Returns:
            How many objects and uploads in progress that were, and their bytes; and how many
            messages, where the node is in the mesh.
        """
        mesh = self._peers.mesh if addr is None else None
        try:
            if topic is None:
                report = self._store.purge(addr, cause=cause)
            else:
                report = self._store.purge_topic(topic, cause=cause)
        finally:
            if addr is None and topic is None:
                self._peers.cut(purged)
                await asyncio.sleep(0)  # what was cancelled lets go of what it held
            said = mesh.purge(topic) if mesh is not None else {}
            if self._peers.mqtt is not None and addr is None:
                self._peers.mqtt.purge(topic)
            collect()
        held = asdict(report)
        return held | said | {"bytes": held["bytes"] + said.get("bytes", 0)}

    def peers(self) -> dict[str, Any]:
        """The neighbours in the mesh, and its counters.

        Raises:
            Refused: This node takes no part in it.
        """
        mesh = self._mesh()
        return {
            "id": mesh.id.hex(),
            "addr": mesh.addr,
            "peers": mesh.peers(),
            "stats": mesh.stats(),
        }

    def ledger(self) -> dict[str, Any]:
        """What became of every message of the mesh.

        Raises:
            Refused: This node takes no part in it.
        """
        mesh = self._mesh()
        return {"id": mesh.id.hex(), "streams": mesh.ledger()}

    def _mesh(self) -> "MeshPort":
        if self._peers.mesh is None:
            raise Refused(404, "not_found", "this node takes no part in the mesh: gossip.enabled")
        return self._peers.mesh

    def panic(self) -> Mapping[str, int]:
        """Wipe everything; the node ends with :meth:`vanish`."""
        return self._panic.strike("order")

    def vanish(self) -> None:
        """End the node after a panic."""
        self._panic.finish()

    async def reload(self) -> tuple[int, tuple[str, ...]]:
        """Read the settings again; the version now in force, and what differs, redacted."""
        changes = await self._reloader.reload()
        return self._reloader.version, tuple(map(str, changes))

    async def revoke(self, revocation_id: str) -> dict[str, int]:
        """Refuse every capability with this id from now on, and wipe what it stored.

        Returns:
            How many objects, uploads in progress and bytes that were, and sessions that ended.
        """
        self._authority.revoke(revocation_id)
        counts, links = self.forget([revocation_id.lower()])
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await self._peers.wait_left(links)
        collect()
        return counts

    def forget(self, ids: Collection[str]) -> tuple[dict[str, int], list[Link]]:
        """Wipe what capabilities of these revocation ids stored, and end their sessions.

        Returns:
            The counts, as of :meth:`revoke`, and the links that are about to end.
        """
        try:
            report = self._store.purge_revoked(ids)
        finally:
            links = self._peers.revoke(ids)
            collect()
        return {**asdict(report), "sessions": len(links)}, links

    def rotate(self, key: str, overlap_s: float) -> None:
        """Believe another public key; the old ones only for the overlap.

        Raises:
            ConfigError: Not a key.
        """
        try:
            public = bytes.fromhex(key)
        except ValueError:
            raise ConfigError(["key: expected 64 hex digits"]) from None
        self._authority.rotate(public, overlap_s, now=wall())
