"""Sources: where the bulk of what we send comes from, read as the connection takes it."""

from collections import deque
from collections.abc import Callable
from typing import BinaryIO

from overlay_edge.errors import TransportError
from overlay_edge.proto.frame import CHUNK_BYTES

Progress = Callable[[int], None]
"""Told the number of bytes that have moved so far."""


class FileSource:
    """Reads an upload as the connection takes it."""

    def __init__(self, file: BinaryIO, size: int, progress: Progress | None) -> None:
        self._file = file
        self._size = size
        self._sent = 0
        self._progress = progress

    def read(self, limit: int) -> tuple[bytes, bool]:
        """See :class:`~overlay_edge.proto.flow.Source`."""
        data = self._file.read(min(limit, self._size - self._sent))
        if not data and self._sent < self._size:
            raise TransportError(f"the file ended after {self._sent} of {self._size} bytes")
        self._sent += len(data)
        if self._progress is not None:
            self._progress(self._sent)
        return data, self._sent >= self._size

    def close(self) -> None:
        """The file is the caller's."""


class BytesSource:
    """Sends bytes that are already here."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def read(self, limit: int) -> tuple[bytes, bool]:
        """See :class:`~overlay_edge.proto.flow.Source`."""
        piece, self._data = bytes(self._data[:limit]), self._data[limit:]
        return piece, not self._data

    def close(self) -> None:
        """Nothing is held open."""


class EchoSource:
    """Holds what came until the connection takes it back.

    Args:
        on_taken: Told how many bytes left.

    Attributes:
        held: Bytes that came and of which nobody was told that they left, also after
            ``close``: who accounts for them still has to give them back.
    """

    def __init__(self, on_taken: Callable[[int], None]) -> None:
        self.held = 0
        self._parts: deque[bytes] = deque()
        self._is_whole = False
        self._on_taken = on_taken

    def push(self, data: bytes, is_last: bool) -> None:
        """Add bytes."""
        self._parts += [data[i : i + CHUNK_BYTES] for i in range(0, len(data), CHUNK_BYTES)]
        self.held += len(data)
        self._is_whole = is_last

    def read(self, limit: int) -> tuple[bytes, bool] | None:
        """See :class:`~overlay_edge.proto.flow.Source`."""
        if not self._parts:
            return (b"", True) if self._is_whole else None
        part = self._parts.popleft()
        if len(part) > limit:
            self._parts.appendleft(part[limit:])
            part = part[:limit]
        self.held -= len(part)
        self._on_taken(len(part))
        return part, self._is_whole and not self._parts

    def close(self) -> None:
        """Let go of what is held."""
        self._parts.clear()
