"""The worst case: every limit once, and their sum."""

from dataclasses import replace
from pathlib import Path

import pytest

from overlay_edge.config import DEFAULTS, PROFILES, MqttConfig, apply_profile, parse, require_fit
from overlay_edge.config.budget import (
    GOSSIP_BYTES,
    GOSSIP_ID_BYTES,
    GOSSIP_NEIGHBOUR_BYTES,
    GOSSIP_PEER_BYTES,
    GOSSIP_TOPIC_BYTES,
    MQTT_BYTES,
    gossip_bytes,
    total_bytes,
    worst_case,
)
from overlay_edge.proto.antientropy import MAX_OFFERS, OFFER_BYTES
from overlay_edge.proto.broadcast import MAX_QUEUED_IDS, QUEUED_ID_BYTES
from overlay_edge.proto.crossing import SEEN_BYTES
from overlay_edge.proto.delivery import STREAMS_PER_TOPIC
from overlay_edge.proto.fetching import FETCH_BYTES, MAX_FETCHES, MAX_WAITING
from overlay_edge.proto.ledger import FEW_HOLES, MAX_ALL_HOLES
from overlay_edge.proto.missing import MAX_MISSING, MISSING_BYTES
from overlay_edge.proto.reputation import PEER_BYTES
from overlay_edge.proto.retention import ID_BYTES
from overlay_edge.proto.stream import GAP_BYTES, HOLE_BYTES, MAX_GAPS, STREAM_BYTES
from overlay_edge.proto.topics import TOPIC_BYTES

MIB = 1 << 20
PACKAGE = Path(__file__).parents[2] / "overlay_edge"


def test_the_sum_is_the_sum_of_its_rows() -> None:
    rows = worst_case(DEFAULTS.transport, DEFAULTS.peer, DEFAULTS.store)
    assert total_bytes(rows) == sum(row.number * row.each_bytes for row in rows)


def test_every_limit_that_holds_memory_moves_the_sum() -> None:
    def total(**changes: object) -> int:
        transport = replace(DEFAULTS.transport, **changes)  # type: ignore[arg-type]
        return total_bytes(worst_case(transport, DEFAULTS.peer, DEFAULTS.store))

    base = total()
    assert total(pool_bytes=33 * MIB) == base + MIB
    assert total(max_conns=1025) > base
    assert total(max_inflight=513) > base
    store = replace(DEFAULTS.store, total_max_bytes=97 * MIB)
    assert total_bytes(worst_case(DEFAULTS.transport, DEFAULTS.peer, store)) == base + MIB


def test_few_connections_cannot_open_more_requests_than_they_may_have() -> None:
    transport = replace(DEFAULTS.transport, max_conns=2)
    peer = replace(DEFAULTS.peer, inflight_frames=3)
    (row,) = [r for r in worst_case(transport, peer, DEFAULTS.store) if r.name == "open requests"]
    assert row.number == 6


def test_objects_are_fetched_only_from_a_storage_that_is_configured() -> None:
    def total(**changes: object) -> int:
        downstream = replace(DEFAULTS.downstream, **changes)  # type: ignore[arg-type]
        config = DEFAULTS
        return total_bytes(worst_case(config.transport, config.peer, config.store, downstream))

    assert total(max_flights=1000) == total()
    assert total(storage="http://h:1", max_flights=2) > total(storage="http://h:1", max_flights=1)
    assert total(storage="http://h:1", max_flights=1) > total()


@pytest.mark.parametrize("name", PROFILES)
def test_a_storage_fits_the_budget_of_every_board(name: str) -> None:
    text = (PACKAGE / f"profiles/{name}.toml").read_text()
    require_fit(parse('downstream.storage = "http://h:1"', base=apply_profile(DEFAULTS, text)))


@pytest.mark.parametrize("name", PROFILES)
def test_everything_together_fits_the_budget_of_every_board(name: str) -> None:
    text = (PACKAGE / f"profiles/{name}.toml").read_text()
    on = "gossip.enabled = true\ndiscovery.enabled = true\ndiscovery.announce = true\n"
    require_fit(apply_profile(parse(f'{on}downstream.storage = "http://h:1"'), text))


def test_the_local_network_costs_who_uses_it() -> None:
    def cost(**changes: bool) -> int:
        discovery = replace(DEFAULTS.discovery, **changes)
        rows = worst_case(DEFAULTS.transport, DEFAULTS.peer, DEFAULTS.store, discovery=discovery)
        return sum(row.total_bytes for row in rows if row.name == "local network")

    assert cost() == 0
    assert cost(enabled=True) == cost(announce=True) > 0


def test_a_mesh_that_is_off_costs_nothing() -> None:
    config = DEFAULTS
    rows = worst_case(config.transport, config.peer, config.store, gossip=config.gossip)
    assert [row.total_bytes for row in rows if row.name == "gossip"] == [0]
    on = replace(config.gossip, enabled=True)
    (row,) = [
        row
        for row in worst_case(config.transport, config.peer, config.store, gossip=on)
        if row.name == "gossip"
    ]
    assert row.total_bytes == gossip_bytes(on, config.transport) > on.cache_bytes


def test_the_budget_of_the_mesh_covers_what_its_rooms_may_hold() -> None:
    stream = STREAM_BYTES + FEW_HOLES * HOLE_BYTES + MAX_GAPS * GAP_BYTES
    assert TOPIC_BYTES + STREAMS_PER_TOPIC * stream <= GOSSIP_TOPIC_BYTES
    assert GOSSIP_ID_BYTES == ID_BYTES
    assert GOSSIP_PEER_BYTES >= PEER_BYTES
    assert GOSSIP_NEIGHBOUR_BYTES >= MAX_QUEUED_IDS * QUEUED_ID_BYTES
    assert GOSSIP_BYTES >= (
        MAX_ALL_HOLES * HOLE_BYTES
        + MAX_MISSING * MISSING_BYTES
        + MAX_OFFERS * OFFER_BYTES
        + MAX_FETCHES * MAX_WAITING * FETCH_BYTES
    )


def test_a_bridge_counts_with_what_waits_on_every_side() -> None:
    def total(mqtt: MqttConfig | None) -> int:
        rows = worst_case(DEFAULTS.transport, DEFAULTS.peer, DEFAULTS.store, mqtt=mqtt)
        return total_bytes(rows)

    assert total(MqttConfig()) == total(None)
    bridge = MqttConfig(url="mqtts://broker", backlog_bytes=MIB)
    assert total(bridge) == total(None) + MQTT_BYTES + 4 * MIB
    assert MQTT_BYTES >= SEEN_BYTES + 6 * MIB


@pytest.mark.parametrize("profile", PROFILES)
def test_a_bridge_fits_every_board(profile: str) -> None:
    caps = (PACKAGE / "profiles" / f"{profile}.toml").read_text()
    text = '[gossip]\nenabled = true\n[mqtt]\nurl = "mqtts://broker"\nin = ["a -> b"]\n'
    if profile == "zero2w":  # it has to give objects less room then
        text += '[store]\ntotal_max = "10MiB"\nobject_max = "10MiB"'
    require_fit(apply_profile(parse(text), caps))
