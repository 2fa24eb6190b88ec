"""`ronctl put FILE`: store a file in the node and print its address."""

import io
import os
import stat
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from overlay_edge.ctl.output import emit
from overlay_edge.ctl.patience import patiently
from overlay_edge.ctl.progress import Progress
from overlay_edge.ctl.shapes import topic
from overlay_edge.ctl.target import connect
from overlay_edge.errors import ConfigError, IntegrityError
from overlay_edge.host.clock import monotonic
from overlay_edge.host.terminal import printable

if TYPE_CHECKING:
    from blake3 import blake3

MAX_SPOOL_BYTES = 256 << 20  # what a pipe may bring; it is held in memory to know its size


def register(verbs: Any, shared: ArgumentParser) -> None:
    """Add the verb."""
    verb = verbs.add_parser("put", parents=[shared], help="store a file, print its address")
    verb.add_argument("file", metavar="FILE", help="what to store; - is standard input")
    verb.add_argument(
        "--topic", type=topic, metavar="TOPIC", help="a label to purge it by: ronctl purge --topic"
    )
    verb.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Send it, and check that the node names it as we do."""
    import asyncio

    with open_source(args.file) as (file, size):
        return asyncio.run(_put(args, file, size))


async def _put(args: Namespace, file: BinaryIO, size: int) -> int:
    from blake3 import blake3

    started = monotonic()
    async with connect(args) as client:
        with Progress(f"put {printable(args.file, 30)}", size) as progress:

            async def ask() -> tuple[str, str]:
                file.seek(0)
                source = HashedReader(file, blake3())
                addr = await client.put(
                    source,  # type: ignore[arg-type]
                    size,
                    topic=args.topic,
                    progress=progress,
                )
                return addr, f"b3:{source.digest.hexdigest()}"

            addr, expected = await patiently(args, ask)
    if addr != expected:
        raise IntegrityError(f"the node stored {printable(addr)}, sent was {expected}")
    fields = {"addr": addr, "size": size, "ms": round(1000 * (monotonic() - started), 1)}
    emit(args.json, fields, addr)
    return 0


class HashedReader:
    """A file that is hashed while it is read."""

    def __init__(self, file: BinaryIO, digest: "blake3") -> None:
        self._file = file
        self.digest = digest

    def read(self, limit: int) -> bytes:
        """The next bytes."""
        data = self._file.read(limit)
        self.digest.update(data)
        return data


@contextmanager
def open_source(name: str) -> Iterator[tuple[BinaryIO, int]]:
    """A file and its size; a pipe is read to its end first, into memory."""
    if name == "-":
        yield _spool(sys.stdin.buffer)
        return
    with open(name, "rb") as file:
        status = os.fstat(file.fileno())
        yield (file, status.st_size) if stat.S_ISREG(status.st_mode) else _spool(file)


def _spool(pipe: BinaryIO) -> tuple[BinaryIO, int]:
    data = pipe.read(MAX_SPOOL_BYTES + 1)
    if len(data) > MAX_SPOOL_BYTES:
        raise ConfigError(
            [f"more than {MAX_SPOOL_BYTES >> 20} MiB through a pipe"],
            hint="name a file: its size is known beforehand",
        )
    return io.BytesIO(data), len(data)
