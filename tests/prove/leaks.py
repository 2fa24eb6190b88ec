"""Planted leaks: boards with one wipe removed each, which the proof must not call clean.

What is removed is a line of an init script, a word of the kernel's command line, or a method of the
service, replaced before it starts. A text to remove that is not there is an error: the leak would
be none.
"""

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.prove import exits
from tests.prove.agent import PROJECT
from tests.prove.estate import settle
from tests.prove.exits import Act, Round, board_of

OVERLAYS = PROJECT / "overlays"
START = """
import sys
from overlay_edge.cli import entry
sys.exit(entry())
"""
MAIN = "usr/lib/overlay-edge/__main__.py"  # a source wins over the compiled file beside it


@dataclass(frozen=True, slots=True)
class Leak:
    """One wipe less.

    Attributes:
        name: What is missing.
        exit: The exit that it spoils.
        found: Classes of which at least one must be found afterwards.
        python: What the service does before it starts.
        edits: By file of ``overlays/``: a text in it, and what takes its place.
        cmdline: The same for the kernel's command line.
        act: How the exit is taken, where it is not as usual.
    """

    name: str
    exit: str
    found: tuple[str, ...]
    python: str = ""
    edits: tuple[tuple[str, str, str], ...] = ()
    cmdline: tuple[str, str] | None = None
    act: Act | None = None

    def files(self) -> dict[str, bytes]:
        """What lies over the image's own files."""
        made: dict[str, bytes] = {}
        if self.python:
            made[MAIN] = (self.python + START).encode()
        for path, old, new in self.edits:
            inside = path.split("/", 1)[1]
            text = made.get(inside, (OVERLAYS / path).read_bytes()).decode()
            if old not in text:
                raise AssertionError(f"{self.name}: {path} has no {old!r}: nothing was removed")
            made[inside] = text.replace(old, new).encode()
        return made


SERVICE = "base/usr/lib/appliance/service"
WIPE = "amnesia/usr/lib/appliance/wipe"
LEAKS = (
    Leak(
        "the kernel keeps freed pages",
        "crash",
        # What is in the process; the store's files are for init to wipe, which is stopped here.
        ("echo in transit", "frame in transit", "gossip payload", *exits.SESSION),
        act=exits.crash_for_good,  # the next process would soon use the same pages
        cmdline=("init_on_free=1", "init_on_free=0"),
    ),
    Leak(
        "the allocator keeps freed memory",
        "purge",
        exits.OBJECT + exits.TRANSIT,
        edits=((SERVICE, "PYTHONMALLOC=malloc GLIBC_TUNABLES=$MALLOC", ""),),
    ),
    Leak(
        "the allocator's caches keep freed memory",
        "purge",
        exits.OBJECT + exits.TRANSIT,
        edits=((SERVICE, ":glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0", ""),),
    ),
    Leak(
        "a purge only forgets",
        "purge",
        ("object bytes",),
        python="""
from overlay_edge.store import medium
kept = []
medium.Blob.wipe = lambda self: kept.append(self)
""",
    ),
    Leak(
        "the purge timer sleeps",
        "TTL",
        ("object bytes",),
        python="""
from overlay_edge.store import cache
expire = cache.ObjectStore.expire
def pretend(self, *, now, budget_bytes=None):
    due = list(self._due(now))
    for found in due:
        del self._objects[found.addr]
        pretend.kept.append(found)
    return cache.PurgeReport(objects=len(due))
pretend.kept = []
cache.ObjectStore.expire = pretend
""",
    ),
    Leak(
        "a revocation leaves what was stored",
        "revoke",
        ("object bytes",),
        python="""
from overlay_edge.store import cache
cache.ObjectStore.purge_revoked = lambda self, ids, **cause: cache.PurgeReport()
""",
    ),
    Leak(
        "a cache keeps payloads",
        "purge",
        ("object bytes",),
        python="""
from overlay_edge.store import medium
append = medium.Blob.append
def remember(self, data):
    remember.kept.append(bytes(data))
    append(self, data)
remember.kept = []
medium.Blob.append = remember
""",
    ),
    Leak(
        "a token is logged",
        "drain",
        ("capability",),
        python="""
from overlay_edge.proto import authority
from overlay_edge.host.journal import journal
verify = authority.Authority.verify
def tell(self, section, **kwargs):
    journal.info("verify", msg=section[-96:].hex())
    return verify(self, section, **kwargs)
authority.Authority.verify = tell
""",
    ),
    Leak(
        "nobody wipes after a crash",
        "crash",
        ("object bytes",),
        python="""
from overlay_edge.store import medium
medium.TmpfsMedium._wipe_leftovers = lambda self, path: 0
""",
        edits=((SERVICE, "/usr/lib/appliance/wipe store", ":"),),
    ),
    Leak(
        "power-off wipes nothing",
        "power-off",
        exits.SITE + exits.LOG,
        edits=((WIPE, 'wipe_folder "$folder"', ":"),),
    ),
    Leak(
        "a panic of the service leaves the site's files",
        "panic button",
        exits.SITE,
        edits=((WIPE, "/run/site ", ""),),
    ),
)
ACTS: dict[str, Act] = {
    "TTL": exits.wait_expiry,
    "purge": exits.purge,
    "revoke": exits.revoke,
    "drain": exits.drain,
    "crash": exits.crash,
    "power-off": exits.ordered("poweroff"),
    "panic button": exits.press_panic,
}


@dataclass(frozen=True, slots=True)
class Caught:
    """What the proof saw of a leak.

    Attributes:
        hits: After the exit, by class.
        holds: It was caught.
    """

    name: str
    exit: str
    holds: bool
    hits: dict[str, int] = field(default_factory=dict)


def try_leak(leak: Leak, built: Path, folder: Path) -> Caught:
    """Boot a board with a leak, take the exit, and look."""
    ttl = f"{exits.SHORT_TTL_S}s" if leak.exit == "TTL" else "1h"
    estate = settle(built, folder, ttl=ttl, files=leak.files(), cmdline=leak.cmdline)
    with ExitStack() as stack:
        board = board_of(stack, estate)
        trial = Round(board).try_exit(leak.exit, leak.act or ACTS[leak.exit])
    left = {cell.name: cell.after for cell in trial.cells if cell.must_go and cell.after}
    return Caught(leak.name, leak.exit, bool(left.keys() & set(leak.found)), left)
