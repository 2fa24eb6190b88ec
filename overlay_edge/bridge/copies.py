"""Copies: what was put here is put into the storage, too, when there is time.

Only addresses wait, a bounded number of them: the bytes stay in the store and are read from
it while they are sent. What the store let go of meanwhile, or the storage refuses, is given
up and counted; the object that is here does not depend on it.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from overlay_edge.bridge.neighbour import Failed
from overlay_edge.errors import ObjectGone
from overlay_edge.proto.retry import RULES, Outcome

MAX_WAITING = 1024  # addresses of 67 characters
TRIES = 3  # of an address, each with retries of its own, before it is given up


class Copies:
    """The addresses that wait, and the one that is sent.

    Args:
        send: Sends one object; False = the store does not have it any more. Raises Failed.
        patience: Seconds to wait when the storage is in trouble.
    """

    def __init__(
        self, send: Callable[[str], Awaitable[bool]], patience: Callable[[], float]
    ) -> None:
        self.outcomes: Counter[str] = Counter()  # sent, gone, refused, full
        self._send = send
        self._patience = patience
        self._waiting: dict[str, int] = {}  # address: times it was tried
        self._came = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, addr: str) -> None:
        """Send it when it is its turn; adding it twice is adding it once."""
        if addr not in self._waiting and len(self._waiting) >= MAX_WAITING:
            self.outcomes["full"] += 1
            return
        self._waiting.setdefault(addr, 0)
        self._came.set()

    async def run(self) -> None:
        """Send, one after the other, until cancelled."""
        while True:
            while not self._waiting:
                self._came.clear()
                await self._came.wait()
            addr = next(iter(self._waiting))
            outcome = await self._try(addr)
            if outcome:
                del self._waiting[addr]
                self.outcomes[outcome] += 1
            else:  # to the end of the line, and later
                self._waiting[addr] = self._waiting.pop(addr) + 1
                await asyncio.sleep(self._patience())

    async def _try(self, addr: str) -> str:
        """How it ended, or empty: it is worth another try."""
        try:
            return "sent" if await self._send(addr) else "gone"
        except ObjectGone:
            return "gone"
        except Failed as failure:
            if failure.outcome is Outcome.OPEN:
                return ""  # it was not tried: wait for the service, however long
            is_last = self._waiting[addr] + 1 >= TRIES
            return "" if RULES[failure.outcome].is_failure and not is_last else "refused"
