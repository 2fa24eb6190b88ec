"""Eight real nodes on eight hosts: cut, split, killed and flooded, and nothing is lost silently.

After every fault, and within a minute, on every live node: delivered and gapped are all that was
published. ``ronctl gaps`` says so, not the test.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.netns.fleet import Fleet, within
from tests.netns.hostile import flood
from tests.netns.network import network, why_not
from tests.support.workstation import RAM

HOSTS = 8
HEALED_S = 60.0
NOTICED_S = 18.0  # silence is noticed after 15

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    if reason := why_not():
        pytest.skip(reason)
    with network(HOSTS) as net, TemporaryDirectory(prefix="oe-netns-", dir=RAM) as folder:
        made = Fleet(net, Path(folder))
        try:
            yield made
        except BaseException:
            print(made.log())
            raise
        finally:
            made.kill()


def test_no_message_is_lost_silently_whatever_happens_to_the_network(fleet: Fleet) -> None:
    took: dict[str, float] = {}
    fleet.start()
    took["converged"] = within(HEALED_S, fleet.is_whole)

    fleet.publish((1, 4, 8), 20)
    took["published"] = within(HEALED_S, fleet.is_accounted_for)

    fleet.net.pull(3)
    fleet.publish((1, 3, 6), 10)  # one of them talks to nobody, and does not know it yet
    time.sleep(NOTICED_S)
    fleet.publish((3, 5), 10)
    fleet.net.pull(3, False)
    took["cut"] = within(HEALED_S, fleet.is_accounted_for)

    for host in range(5, HOSTS + 1):
        fleet.net.plug(host, "b")
    fleet.publish((2, 7), 10)
    time.sleep(NOTICED_S)
    fleet.publish((2, 7), 10)
    for host in range(5, HOSTS + 1):
        fleet.net.plug(host, "a")
    took["split"] = within(HEALED_S, lambda: fleet.is_whole() and fleet.is_accounted_for())

    fleet.kill((1, 6))
    fleet.publish((2, 8), 10)
    fleet.start((1, 6))
    took["killed"] = within(HEALED_S, fleet.is_accounted_for)
    fleet.publish((1, 6), 10)
    took["back"] = within(HEALED_S, fleet.is_accounted_for)

    totals = fleet.totals()
    fleet.kill()
    fleet.published.clear()  # the RAM that it was in is gone
    fleet.start()
    took["all restarted"] = within(HEALED_S, fleet.is_whole)
    fleet.publish((1, 5), 10)
    took["all restarted, published"] = within(HEALED_S, fleet.is_accounted_for)
    print(json.dumps({"s": {name: round(value, 1) for name, value in took.items()}, **totals}))


def test_a_hostile_node_is_bounded_seen_and_sent_away_and_the_others_go_on(fleet: Fleet) -> None:
    fleet.start()
    within(HEALED_S, fleet.is_whole)
    before = fleet.nodes[2].rss_bytes()
    with flood(fleet.nodes[2].oap) as hostile:
        fleet.publish((1, 5), 20)
        took_s = within(HEALED_S, lambda: fleet.peers(2)["stats"]["graylisted"] > 0)
        within(HEALED_S, fleet.is_accounted_for)
        stats = fleet.peers(2)["stats"]
    grown = fleet.nodes[2].rss_bytes() - before
    faults = {name: count for name, count in stats.items() if name.startswith("fault_")}
    print(json.dumps({"seen_s": round(took_s, 1), "sent": hostile.sent, "grown_mib": grown >> 20}))
    assert sum(faults.values()) > 0
    assert stats["topics"] <= 200
    assert grown < 64 << 20
    assert hostile.sent > 0
