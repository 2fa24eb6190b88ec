"""Operations: what an operator may do to a running node."""

from typing import Any

from overlay_edge.errors import ConfigError
from overlay_edge.host.clock import wall
from overlay_edge.proto.authority import Authority
from overlay_edge.reload import Reloader
from overlay_edge.store.cache import ObjectStore


class Operations:
    """What the control plane carries out.

    Args:
        store: The node's objects.
        authority: Who may do what.
        reloader: Reads the settings again.
    """

    def __init__(self, store: ObjectStore, authority: Authority, reloader: Reloader[Any]) -> None:
        self._store = store
        self._authority = authority
        self._reloader = reloader

    def purge(self, addr: str | None) -> dict[str, int]:
        """Wipe one object, or everything; say how much that was."""
        report = self._store.purge(addr)
        return {"objects": report.objects, "uploads": report.uploads, "bytes": report.bytes}

    async def reload(self) -> tuple[int, tuple[str, ...]]:
        """Read the settings again; the version now in force, and what differs, redacted."""
        changes = await self._reloader.reload()
        return self._reloader.version, tuple(map(str, changes))

    def revoke(self, revocation_id: str) -> None:
        """Refuse every capability with this id from now on."""
        self._authority.revoke(revocation_id)

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
