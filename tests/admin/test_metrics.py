"""Metrics: the platform's names, present before anything happened, bounded whoever connects."""

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from overlay_edge.admin.metrics import Exposition
from overlay_edge.admin.views import Counters
from overlay_edge.host.rules import Standing
from overlay_edge.proto.nearby import Sightings
from overlay_edge.proto.readiness import CheckState, State
from overlay_edge.store.wiping import Cause
from overlay_edge.tally import Latency
from tests.support.hand_view import HandView, report, snapshot

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(view: HandView) -> Samples:
    text = Exposition(view).render().decode()
    return {
        (sample.name, tuple(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("overlay_sessions_active", ()),
        ("overlay_sessions_open_total", ()),
        ("overlay_handshake_attempts_total", ()),
        ("handshake_total", ()),
        ("overlay_handshake_failures_total", (("reason", "timeout"),)),
        ("tls_handshake_failures_total", (("reason", "alpn"),)),
        ("overlay_pq_negotiations_total", (("mode", "hybrid"), ("outcome", "ok"))),
        ("overlay_frames_total", (("dir", "rx"), ("kind", "ctrl"))),
        ("overlay_bytes_total", (("dir", "tx"),)),
        ("overlay_inflight_frames", (("state", "open"),)),
        ("overlay_inflight_frames", (("state", "high"),)),
        ("rejected_total", (("reason", "ratio_cap"),)),
        ("quota_exhaustions_total", ()),
        ("overlay_store_objects", ()),
        ("overlay_store_bytes", ()),
        ("overlay_store_limit_bytes", ()),
        ("overlay_store_purged_total", (("cause", "expired"),)),
        ("bus_lagged_total", ()),
        ("bus_overflow_dropped_total", ()),
        ("overlay_ready_transitions_total", (("to", "degraded"),)),
        ("overlay_canary_seconds_count", ()),
        ("config_update_total", (("result", "refused"),)),
        ("overlay_audit_records_total", ()),
        ("overlay_audit_lost_total", ()),
        ("overlay_audit_backlog", ()),
        ("overlay_control_streams", ()),
        ("overlay_gossip_published_total", ()),
        ("overlay_gossip_delivered_total", ()),
        ("overlay_gossip_duplicates_total", ()),
        ("overlay_gossip_gap_messages_total", ()),
        ("overlay_gossip_impostors_total", ()),
        ("overlay_discovery_peers", ()),
        ("overlay_discovery_refused_total", (("reason", "flood"),)),
        ("overlay_gossip_held_bytes", ()),
        ("overlay_gossip_peers", (("view", "active"),)),
        ("overlay_shed_total", (("class", "eager"), ("reason", "slow"))),
    ],
)
def test_what_operators_look_for_is_there_before_it_happens(
    name: str, labels: tuple[tuple[str, str], ...]
) -> None:
    assert scrape(HandView())[name, labels] == 0


def test_every_cause_of_a_wipe_is_there_from_the_start() -> None:
    found = [labels for name, labels in scrape(HandView()) if name == "overlay_store_purged_total"]
    assert {dict(labels)["cause"] for labels in found} == set(Cause)


def test_restarts_are_counted_by_task() -> None:
    view = HandView(counted=Counters(service_restarts={"purger": 0, "sink": 2}))
    samples = scrape(view)
    assert samples["service_restarts_total", (("service", "purger"),)] == 0
    assert samples["service_restarts_total", (("service", "sink"),)] == 2


def test_a_bridge_is_counted_where_there_is_one() -> None:
    assert not [name for name, _ in scrape(HandView()) if "mqtt" in name]
    totals = {"in": 1, "out": 2, "dropped_duplicates": 3, "reconnects": 4, "backlog": 5}
    samples = scrape(HandView(counted=Counters(mqtt=totals, mqtt_shed={"rate": 6})))
    for name in ("in", "out", "dropped_duplicates", "reconnects"):
        assert samples[f"overlay_mqtt_{name}_total", ()] == totals[name]
    assert samples["overlay_mqtt_shed_total", (("reason", "rate"),)] == 6
    assert samples["overlay_mqtt_shed_total", (("reason", "backlog"),)] == 0
    assert samples["overlay_mqtt_backlog", ()] == 5


def test_the_node_is_asked_at_each_scrape() -> None:
    view = HandView()
    exposition = Exposition(view)
    assert b"\noverlay_sessions_active 0.0\n" in exposition.render()
    view.counted = Counters(sessions_active=3)
    assert b"\noverlay_sessions_active 3.0\n" in exposition.render()


def test_the_local_network_is_counted_and_reasons_are_ours() -> None:
    lan = Sightings("overlay-123456.local", 3, 7, 1, {"flood": 9})
    found = scrape(HandView(counted=Counters(discovery=lan)))
    assert found["overlay_discovery_peers", ()] == 3
    assert found["overlay_discovery_announcements_total", ()] == 7
    assert found["overlay_discovery_conflicts_total", ()] == 1
    assert found["overlay_discovery_refused_total", (("reason", "flood"),)] == 9
    assert found["overlay_discovery_refused_total", (("reason", "address"),)] == 0
    assert scrape(HandView())["overlay_discovery_peers", ()] == 0


def test_numbers_of_the_node_become_samples() -> None:
    samples = scrape(
        HandView(
            counted=Counters(
                rejected={"busy": 4, "odd": 1},
                frames={("rx", "other"): 9},
                pq_negotiations={("classical", "ok"): 2},
                inflight_open=7,
                inflight_high=2,
            )
        )
    )
    assert samples["rejected_total", (("reason", "busy"),)] == 4
    assert samples["rejected_total", (("reason", "odd"),)] == 1
    assert samples["rejected_total", (("reason", "timeout"),)] == 0
    assert samples["overlay_frames_total", (("dir", "rx"), ("kind", "other"))] == 9
    negotiated = (("mode", "classical"), ("outcome", "ok"))
    assert samples["overlay_pq_negotiations_total", negotiated] == 2
    assert samples["overlay_inflight_frames", (("state", "high"),)] == 2


@pytest.mark.parametrize(
    ("state", "value"),
    [
        (snapshot(), 1),
        (snapshot(degraded=True, inflight="450 of 512"), 2),
        (snapshot(store="starting"), 0),
    ],
)
def test_readiness_is_one_number_and_one_for_each_check(state: object, value: int) -> None:
    samples = scrape(HandView(state))  # type: ignore[arg-type]
    assert samples["readyz_state", ()] == value
    assert samples["overlay_ready", (("check", "tls"),)] == 1


def test_a_node_that_serves_and_has_a_notice_is_degraded_in_the_number_too() -> None:
    noticed = replace(snapshot(), degraded=True, missing=("clock",))
    assert scrape(HandView(noticed))["readyz_state", ()] == 2


def test_transitions_and_pressure_come_from_the_same_snapshot() -> None:
    calm = snapshot()
    pressed = replace(
        calm,
        checks=(CheckState("memory", True, "", 1.0, value=300.0, limit=400.0), *calm.checks),
        turned={State.READY: 3, State.DOWN: 2},
    )
    samples = scrape(HandView(pressed))
    assert samples["overlay_ready_transitions_total", (("to", "ready"),)] == 3
    assert samples["overlay_ready_transitions_total", (("to", "degraded"),)] == 0
    ratios = {key: value for key, value in samples.items() if key[0] == "overlay_pressure_ratio"}
    assert ratios == {("overlay_pressure_ratio", (("resource", "memory"),)): 0.75}


def test_flights_of_the_canary_are_a_histogram() -> None:
    latency = Latency()
    for seconds in (0.03, 0.04, 7.0):
        latency.observe(seconds)
    samples = scrape(HandView(counted=Counters(canary=latency)))
    assert samples["overlay_canary_seconds_count", ()] == 3
    assert samples["overlay_canary_seconds_bucket", (("le", "0.05"),)] == 2
    assert samples["overlay_canary_seconds_sum", ()] == pytest.approx(7.07)


def test_the_amnesia_mode_is_a_gauge_and_a_label() -> None:
    view = HandView(promised=report(is_on=False))
    view.identity["amnesia"] = False
    samples = scrape(view)
    assert samples["amnesia_mode", ()] == 0
    (labels,) = [dict(key[1]) for key in samples if key[0] == "overlay_build_info"]
    assert labels == {"version": "0.1.0", "profile": "pi4", "pq_mode": "hybrid", "amnesia": "off"}


def test_the_mode_is_only_1_while_every_required_rule_holds() -> None:
    for promised, mode in ((report(), 1), (report(swap=Standing.BROKEN), 0)):
        assert scrape(HandView(promised=promised))["amnesia_mode", ()] == mode


def test_a_rule_has_a_sample_unless_it_does_not_apply() -> None:
    samples = scrape(HandView(promised=report(swap=Standing.BROKEN, log=Standing.NOT_HERE)))
    found = {dict(key[1])["rule"]: n for key, n in samples.items() if "amnesia_rule" in key[0]}
    assert found == {"swap": 0, "disks": 0, "freed_pages": -1}


def test_latency_is_a_cumulative_histogram_with_the_platforms_buckets() -> None:
    latency = Latency()
    for seconds in (0.001, 0.005, 0.3, 60.0):
        latency.observe(seconds)
    samples = scrape(HandView(counted=Counters(latency={("objects", "get"): latency})))
    labels = (("app", "objects"), ("op", "get"))
    name = "request_latency_seconds"
    buckets = {
        dict(key[1])["le"]: value for key, value in samples.items() if key[0] == f"{name}_bucket"
    }
    assert buckets["0.005"] == 2
    assert buckets["0.2"] == 2
    assert buckets["0.5"] == 3
    assert buckets["5.0"] == 3
    assert buckets["+Inf"] == samples[f"{name}_count", labels] == 4
    assert samples[f"{name}_sum", labels] == pytest.approx(60.306)


def test_the_process_shows_its_own_memory_and_descriptors() -> None:
    samples = scrape(HandView())
    assert samples["process_resident_memory_bytes", ()] > 1 << 20
    assert samples["process_open_fds", ()] > 2
    assert samples["process_cpu_seconds_total", ()] > 0


def test_what_the_mesh_gave_up_and_threw_away_is_counted_by_our_own_words() -> None:
    gossip = {
        "published": 3,
        "delivered": 9,
        "gapped_lost": 2,
        "gapped_fetch": 1,
        "shed_publish_rate": 4,
        "shed_eager_too_large": 5,
        "active": 6,
        "held_bytes": 7,
    }
    found = scrape(replace_view(gossip))
    assert found["overlay_gossip_gap_messages_total", ()] == 3
    assert found["overlay_shed_total", (("class", "publish"), ("reason", "rate"))] == 4
    assert found["overlay_shed_total", (("class", "eager"), ("reason", "too_large"))] == 5
    assert found["overlay_gossip_peers", (("view", "active"),)] == 6


def replace_view(gossip: dict[str, int]) -> HandView:
    return HandView(counted=Counters(gossip=gossip))
