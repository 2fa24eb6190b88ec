"""Mesh port: what a bridge needs of the mesh, whoever gives it."""

from collections.abc import AsyncIterator
from typing import Protocol

from overlay_edge.proto.effects import Deliver, Gapped, Outcome


class Hearing(Protocol):
    """A subscription of the mesh."""

    def __aiter__(self) -> AsyncIterator[Deliver | Gapped]:
        """Messages, as they come."""

    def __len__(self) -> int:
        """Messages that were not read yet."""

    def close(self) -> None:
        """Hear no more."""


class MeshPort(Protocol):
    """What a bridge needs of the mesh."""

    @property
    def id(self) -> bytes:
        """This node's id."""

    def publish(self, topic: str, data: bytes = b"", *, addr: str = "", size: int = 0) -> Outcome:
        """Publish a message."""

    def subscribe(self, topic: str) -> Hearing:
        """Hear a topic, this node's own messages included."""
