"""Triggers: what wipes a node beside its operator: a medium that is taken out, a button."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from overlay_edge.config import OnRemoval, PanicConfig
from overlay_edge.errors import EdgeError
from overlay_edge.host.gpio import DEV, Button, read_line, take_line
from overlay_edge.host.journal import Journal
from overlay_edge.host.removal import BLOCK, is_there
from overlay_edge.operations import Operations
from overlay_edge.panic import Panic
from overlay_edge.proto.audit import NOTHING, Facts
from overlay_edge.proto.chain import Kind
from overlay_edge.proto.checks import BUTTON, MEDIUM, panics
from overlay_edge.store.wiping import Cause


class Record(Protocol):
    """Writes a record of the audit."""

    def __call__(
        self, kind: Kind, *, by: str = "", subject: str = "", attrs: Facts = NOTHING
    ) -> None:
        """Of what happened, by whom, to what."""
        ...  # pragma: no cover


class Triggers:
    """Watches them for one node.

    Args:
        config: What is watched, and what is done then.
        operations: Purges.
        panic: Ends everything.
        journal: Told of each.
        record: Writes the audit.
        report: Says how a check stands: its name, and the reason if it does not hold.
        block: Where the kernel shows block devices.
        dev: Where the GPIO chips are.
    """

    def __init__(
        self,
        config: PanicConfig,
        operations: Operations,
        panic: Panic,
        journal: Journal,
        record: Record,
        report: Callable[[str, str], None],
        *,
        block: Path = BLOCK,
        dev: Path = DEV,
    ) -> None:
        self._config = config
        self._operations = operations
        self._panic = panic
        self._journal = journal
        self._record = record
        self._report = report
        self._block = block
        self._dev = dev
        self._checks = panics(config)
        self._was_there = False
        self._is_done = False
        self._button: Button | None = None

    # -- the button ---------------------------------------------------------------------

    def start(self) -> None:
        """Take the button's line; without it the node serves, and says so."""
        if self._config.gpio:
            try:
                fd, debounced = take_line(read_line(self._config.gpio), self._dev)
            except OSError as error:
                self._lost(error.strerror or str(error))
                return
            self._button = Button(fd, debounced, self._pressed, self._lost)
            self._report(BUTTON.name, "")

    def close(self) -> None:
        """Give the line back."""
        if self._button is not None:
            self._button.close()

    def _pressed(self) -> None:
        self._panic.end("button")

    def _lost(self, reason: str) -> None:
        line = f"{self._config.gpio}: {reason}"
        self._journal.error("panic_button", reason=line, msg="the panic button does not work")
        self._report(BUTTON.name, line)

    # -- the medium ---------------------------------------------------------------------

    async def look(self) -> None:
        """Is the medium still there? Call it again and again.

        One that was never there is a mistake in the settings, and wipes nothing.
        """
        name = self._config.medium
        if not name:
            return
        is_here = is_there(name, self._block)
        if MEDIUM in self._checks:
            gone = "was taken out" if self._was_there else "is not there"
            self._report(MEDIUM.name, "" if is_here else f"{name} {gone}")
        if is_here:
            self._was_there = True
        elif self._was_there and not self._is_done:
            self._is_done = True
            await self._removed(name)

    async def _removed(self, name: str) -> None:
        action = self._config.on_removal
        self._journal.warning("medium_removed", reason=name, action=str(action))
        if action is OnRemoval.PANIC:
            self._panic.end("medium")
            return
        attrs: dict[str, str | int | bool] = {"action": str(action)}
        if action is OnRemoval.PURGE:
            try:
                attrs |= await self._operations.purge(cause=Cause.MEDIUM)
            except EdgeError as error:
                attrs["error"] = str(error)
                self._journal.error("wipe", reason=str(error))
        self._record(Kind.MEDIUM_REMOVED, by="medium", subject=name, attrs=attrs)
