"""Patience: a node that says when to ask again is asked again then."""

import sys
from argparse import Namespace
from collections.abc import Awaitable, Callable
from typing import TypeVar

from overlay_edge.errors import Refused
from overlay_edge.host.clock import monotonic
from overlay_edge.host.terminal import printable

WORTH_WAITING = (429, 503)
T = TypeVar("T")


async def patiently(args: Namespace, ask: Callable[[], Awaitable[T]]) -> T:
    """Ask, and ask again for as long as ``--patience`` allows.

    Raises:
        Refused: The last refusal, when waiting would not help or take too long.
    """
    import asyncio  # not before a verb runs: --help must not wait for it

    give_up_at = monotonic() + args.patience
    while True:
        try:
            return await ask()
        except Refused as refusal:
            wait_s = (refusal.retry_after_ms or 0) / 1000
            if refusal.code not in WORTH_WAITING or not wait_s:
                raise
            if monotonic() + wait_s > give_up_at:
                raise
            if not args.json:
                why = printable(str(refusal), 60)
                print(f"waiting {wait_s:.1f} s, as the node asks: {why}", file=sys.stderr)
            await asyncio.sleep(wait_s)
