"""How events are told; the streams themselves are in `test_control`, over a real socket."""

from overlay_edge.admin.streams import describe
from overlay_edge.bus import Lagged, ReadyChanged, Shutdown


def test_events_are_named_as_the_platform_names_them() -> None:
    ready = describe(ReadyChanged(False, True, ("bus",)), 5)
    assert ready == {
        "event": "ready_changed",
        "ts_ms": 5,
        "ready": False,
        "degraded": True,
        "missing": ("bus",),
    }
    assert describe(Lagged(3), 5) == {"event": "lagged", "ts_ms": 5, "count": 3}
    assert describe(Shutdown(), 5) == {"event": "shutdown", "ts_ms": 5}
