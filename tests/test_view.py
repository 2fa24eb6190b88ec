"""The view: nothing it shows is kept, everything is looked up when asked."""

from itertools import pairwise

from overlay_edge.bus import Bus, Health, ReadyChanged, Topic
from overlay_edge.config import DEFAULTS
from overlay_edge.host.journal import Journal
from overlay_edge.host.promise import Promise
from overlay_edge.node import limits_of
from overlay_edge.shared import Shared
from overlay_edge.store.cache import ObjectStore
from overlay_edge.store.medium import MemfdMedium
from overlay_edge.tally import Tally
from overlay_edge.view import View

CHECKS = ("listeners", "bus", "config", "store", "tls", "admin")
STORE = ObjectStore(DEFAULTS.store, MemfdMedium())


def made() -> tuple[View, Shared, Bus, list[bytes]]:
    lines: list[bytes] = []
    bus = Bus()
    shared = Shared(limits_of(DEFAULTS), now=0.0)
    about: dict[str, object] = {"profile": "generic", "pq_mode": "hybrid"}
    journal = Journal("info", lines.append)
    promise = Promise(False, {})
    view = View(about, DEFAULTS.readiness, shared, Tally(), bus, journal, promise=promise)
    return view, shared, bus, lines


def test_a_node_that_has_started_nothing_is_not_ready_and_can_be_asked_anything() -> None:
    view, *_ = made()
    assert not view.readiness().ready
    assert view.counters().store_objects == 0
    assert view.addresses() == {}
    assert view.version()["profile"] == "generic"


async def test_readiness_that_flips_is_told_once_to_bus_and_log() -> None:
    view, _, bus, lines = made()
    events = bus.subscribe(Topic.OVERLAY)
    for check in CHECKS:
        view.set(check)
    view.store = STORE
    assert view.readiness().ready
    view.set("tls", "certificate expired")
    view.set("tls", "certificate expired")
    flips = [await anext(events) for _ in range(events.depth)]
    assert flips[-2:] == [ReadyChanged(True, False, ()), ReadyChanged(False, False, ("tls",))]
    assert all(one != other for one, other in pairwise(flips))
    assert b"".join(lines).count(b"readyz_change") == len(flips)


def test_pressure_shows_in_the_same_moment() -> None:
    view, shared, _, _ = made()
    for check in CHECKS:
        view.set(check)
    view.store = STORE
    assert view.readiness().ready
    shared.inflight = shared.limits.transport.max_inflight
    assert view.readiness().missing == ("inflight",)
    assert view.counters().inflight_high == shared.inflight
    shared.inflight = 0
    assert view.readiness().ready
    assert view.counters().inflight_high == 0


async def test_a_part_that_comes_or_goes_is_told_on_the_kernels_topic_once() -> None:
    view, _, bus, _ = made()
    events = bus.subscribe(Topic.KERNEL)
    for reason in ("", "", "disk full", "disk full", ""):
        view.set("store", reason)
    told = [await anext(events) for _ in range(events.depth)]
    assert told == [Health("store", ok=True), Health("store", ok=False), Health("store", ok=True)]


def test_neighbours_are_told_what_is_true_now_and_no_secret() -> None:
    view, *_ = made()
    view.listening |= {"oap.addr": "0.0.0.0:9444", "admin.addr": "127.0.0.1:9600"}
    view.fingerprint = "ab" * 32
    about = view.about()
    assert (about.oap, about.admin) == ("0.0.0.0:9444", "127.0.0.1:9600")
    assert dict(about.beacon.txt()) == {
        "id": "ab" * 8,
        "v": view.version()["version"],
        "profile": "generic",
        "pq": "hybrid",
        "mesh": "0",
        "fp": "ab" * 32,
    }
    view.leave_lan()  # there is nothing to leave
