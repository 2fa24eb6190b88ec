"""A discovery in a process of its own; says in JSON what it learns, until it is told to stop."""

import asyncio
import json
import resource
import signal
import sys
from contextlib import suppress

from overlay_edge.bridge.discovery import Discovery
from overlay_edge.bridge.lan import About, Audience
from overlay_edge.bus import Bus
from overlay_edge.config import DiscoveryConfig
from overlay_edge.host.journal import Journal
from overlay_edge.proto.beacon import Beacon


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


class Mesh:
    """Says what it is told."""

    def add_peer(self, addr: str, origin: str, fingerprint: str) -> None:
        say(added=addr, origin=origin)

    def remove_peer(self, addr: str, origin: str) -> None:
        say(removed=addr, origin=origin)


async def main(settings: dict[str, object]) -> None:
    node = str(settings["node"])
    admin = str(settings.get("admin", "0.0.0.0:9600"))
    about = About(
        Beacon(node, node * 4, True, "0.1.0", "pi4", "hybrid"),
        str(settings["machine"]),
        "0.0.0.0:9444",
        admin,
    )
    discovery = Discovery(
        DiscoveryConfig(bool(settings.get("enabled", True)), bool(settings.get("announce", True))),
        lambda: about,
        audience=Audience(Mesh(), Bus(), Journal("error")),
        tell=lambda reason: say(reason=reason),
        late_s=0.0,
        lifetime_s=float(str(settings.get("lifetime_s", 120.0))),
    )
    running = asyncio.create_task(discovery.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    before = None
    while not running.done():
        if (now := discovery.sightings) != before:
            before = now
            say(**now._asdict(), rss_kib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        await asyncio.sleep(0.02)
    with suppress(asyncio.CancelledError):
        await running


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
