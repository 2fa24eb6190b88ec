"""`ronctl get ADDR`: fetch an object; a file appears only when its bytes are verified."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from overlay_edge.ctl.output import emit
from overlay_edge.ctl.output import size as human_size
from overlay_edge.ctl.patience import patiently
from overlay_edge.ctl.progress import Progress
from overlay_edge.ctl.shapes import object_address
from overlay_edge.ctl.target import connect
from overlay_edge.errors import ConfigError
from overlay_edge.host.clock import monotonic
from overlay_edge.host.terminal import printable


def register(verbs: Any, shared: ArgumentParser) -> None:
    """Add the verb."""
    verb = verbs.add_parser(
        "get",
        parents=[shared],
        help="fetch an object",
        description="Fetch an object. Without -o its bytes go to standard output as they come: "
        "only exit code 0 says that they are the right ones.",
    )
    verb.add_argument("address", metavar="ADDR", type=object_address, help="b3:...")
    verb.add_argument("-o", "--output", metavar="FILE", help="written when verified, or not at all")
    verb.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Fetch it to where it was asked for."""
    import asyncio

    if args.output in (None, "-"):
        if args.json:
            raise ConfigError(["-o: missing, expected with --json"])
        if sys.stdout.isatty():
            raise ConfigError(
                ["-o: missing, expected because standard output is a terminal"],
                hint="use -o FILE, or a pipe",
            )
        asyncio.run(_get(args, sys.stdout.buffer.write))
        sys.stdout.buffer.flush()
        return 0
    started = monotonic()
    with whole_file(args.output) as write:
        size = asyncio.run(_get(args, write))
    ms = round(1000 * (monotonic() - started), 1)
    emit(
        args.json,
        {"addr": args.address, "size": size, "file": args.output, "ms": ms},
        f"{printable(args.output)}: {human_size(size)}, verified",
    )
    return 0


async def _get(args: Namespace, write: Callable[[bytes], object]) -> int:
    async with connect(args) as client:
        total = 0
        if sys.stderr.isatty():
            total = await patiently(args, lambda: client.head(args.address))
        with Progress(f"get {args.address[:11]}...", total) as progress:
            # A refusal comes before the first byte, so nothing is written twice.
            return await patiently(args, lambda: client.get(args.address, write, progress=progress))


@contextmanager
def whole_file(path: str) -> Iterator[Callable[[bytes], object]]:
    """Write a file beside its place, and move it there when all went well."""
    if os.path.exists(path) and not os.path.isfile(path):  # a device or a pipe
        with open(path, "wb") as file:
            yield file.write
        return
    folder, name = os.path.split(path)
    part = os.path.join(folder, f".{name[:200]}.{os.urandom(4).hex()}.part")
    with open(part, "xb") as file:
        try:
            yield file.write
            file.close()
            os.replace(part, path)
        except BaseException:
            os.unlink(part)
            raise
