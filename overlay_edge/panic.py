"""Panic: wipe everything that is held, now, and end; nobody is waited for.

    strike    /readyz drops -> objects overwritten -> links aborted -> nobody is let in
                 -> audit and certificate let go -> what that left is collected
    finish    the node ends; its exit code (12) says to wipe what is outside of it, too

No step keeps the next one from being taken. When the event loop is too busy to begin, or does
not get to the end, an alarm of the kernel's overwrites the objects and ends the process. Memory
that was only let go of is the kernel's with the end of the process, which is why that comes soon.
"""

import asyncio
import gc
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict

from overlay_edge.certificate import Certificate
from overlay_edge.ending import Ending
from overlay_edge.errors import PolicyError
from overlay_edge.host.journal import Journal
from overlay_edge.peers import Peers
from overlay_edge.proto.audit import AuditLog
from overlay_edge.store.cache import ObjectStore
from overlay_edge.store.wiping import Cause, PurgeReport

START_S = 1.0  # the loop gets this long to begin
END_S = 5.0  # and this long from there to the end of the process, beside overwriting
SLOWEST_BYTES_S = (
    64 << 20
)  # overwritten in a second by the smallest board, busy as it may be; guess


class Struck(Exception):
    """It is over: whatever still runs is to be dropped."""


class Panic:
    """The way out that waits for nobody.

    Args:
        journal: Told of it.
        audit: Its records are dropped.
        certificate: Let go of, with its key.
        drop_ready: Takes the node out of rotation, with the reason.
        exit_now: Ends the process; ``os._exit``.

    Attributes:
        store: What is overwritten, once there is one.
        peers: Whose links are aborted, once there are any.
        closers: Each stops one listener, or lets go of one secret.
        arm: Has :meth:`last_resort` called in so many seconds, whatever the loop does; given
            by whoever owns the process.
    """

    def __init__(
        self,
        journal: Journal,
        audit: AuditLog,
        certificate: Certificate,
        drop_ready: Callable[[str], None],
        exit_now: Callable[[int], object] = os._exit,
    ) -> None:
        self.store: ObjectStore | None = None
        self.peers: Peers | None = None
        self.closers: list[Callable[[], object]] = []
        self.arm: Callable[[float], None] = lambda _seconds: None
        self._journal = journal
        self._audit = audit
        self._certificate = certificate
        self._drop_ready = drop_ready
        self._exit_now = exit_now
        self._is_called = False
        self._told: dict[str, int] | None = None
        self._over = asyncio.Event()

    @property
    def is_struck(self) -> bool:
        """True from the first moment on."""
        return self._told is not None

    def strike(self, cause: str) -> Mapping[str, int]:
        """Wipe everything; striking twice is striking once.

        Args:
            cause: Who wanted it, one of our own words.

        Returns:
            How many objects, uploads in progress and bytes were overwritten, and sessions ended.
        """
        if self._told is None:
            self._told = told = {"objects": 0, "uploads": 0, "bytes": 0, "sessions": 0}
            held = self.store.used_bytes + self.store.reserved_bytes if self.store else 0
            self.arm(END_S + held / SLOWEST_BYTES_S)
            self._try(lambda: self._drop_ready(f"panic: {cause}"))
            self._try(lambda: told.update(asdict(self.overwrite(Cause.PANIC))))
            self._try(lambda: told.update(sessions=self.peers.abort() if self.peers else 0))
            for close in self.closers:
                self._try(close)
            self._try(self._audit.drop)
            self._try(self._certificate.forget)
            gc.unfreeze()  # what was set aside at the start counts, too
            gc.collect()
            self._journal.warning("panic", reason=cause, **told)
        return self._told

    def finish(self) -> None:
        """Let the node end."""
        self._over.set()

    def end(self, cause: str) -> None:
        """Strike, and finish: nobody waits for an answer."""
        self.strike(cause)
        self.finish()

    async def over(self) -> None:
        """Wait for the end.

        Raises:
            Struck: It has come.
        """
        await self._over.wait()
        raise Struck

    def on_signal(self, loop: asyncio.AbstractEventLoop) -> None:
        """A signal calls: on the main thread, between any two steps of whatever runs there.

        The second call, or one during a panic, ends the process at once.
        """
        if self._is_called or self.is_struck:
            self._exit_now(Ending.PANIC)
        self._is_called = True
        self.arm(START_S)
        with suppress(RuntimeError):  # a loop that is closed: there is only the alarm left
            loop.call_soon_threadsafe(self.end, "signal")

    def last_resort(self) -> None:
        """Overwrite what is left and end the process, whatever it was doing."""
        try:
            with suppress(Exception):
                report = self.overwrite(Cause.PANIC)
                self._journal.warning("panic_cut", reason="not done in time", **asdict(report))
        finally:
            self._exit_now(Ending.PANIC)

    def overwrite(self, cause: Cause) -> PurgeReport:
        """Overwrite every object and upload; what cannot be is told, and left."""
        try:
            return self.store.purge(cause=cause) if self.store is not None else PurgeReport()
        except PolicyError as error:
            self._journal.error("wipe", reason=str(error))
            return PurgeReport()

    def _try(self, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception as exc:
            self._journal.exception("panic_step", exc)
