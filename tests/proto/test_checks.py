"""What is declared can be understood by who reads it."""

import pytest

from overlay_edge.config import DEFAULTS, DiscoveryConfig, MqttConfig, OnRemoval, PanicConfig
from overlay_edge.proto.checks import (
    AUTH,
    BUTTON,
    CANARY,
    CHECKS,
    CLOCK,
    DISCOVERY,
    MEDIUM,
    MQTT,
    REQUIRED_LEAVE_S,
    SAMPLED,
    Check,
    Dwell,
    Weight,
    checks_of,
    downstream,
    panics,
)

OWN = (*CHECKS, *SAMPLED, CANARY, CLOCK, AUTH, MEDIUM, BUTTON, DISCOVERY, MQTT)
ALL = (*OWN, downstream("index", required=False))


def test_every_check_has_a_name_of_its_own() -> None:
    assert len({check.name for check in ALL}) == len(ALL)


@pytest.mark.parametrize("check", ALL, ids=lambda check: check.name)
def test_a_check_says_what_clears_it_or_is_a_gauge_that_will(check: Check) -> None:
    assert bool(check.clears) == (check.dwell is Dwell.NONE)


@pytest.mark.parametrize("check", ALL, ids=lambda check: check.name)
def test_only_pressure_may_take_its_time(check: Check) -> None:
    assert check.dwell is Dwell.NONE or check.weight is Weight.SOFT


def test_a_required_downstream_is_given_time_and_its_own_jitter() -> None:
    assert downstream("index", required=False).leave_after_s is None
    patient = downstream("index", required=True, jitter_s=12.5)
    assert (patient.name, patient.leave_after_s) == ("downstream.index", REQUIRED_LEAVE_S + 12.5)


def test_only_what_would_wipe_the_node_has_a_check_and_none_takes_it_out_of_rotation() -> None:
    assert panics(PanicConfig()) == panics(PanicConfig(medium="sda")) == ()
    both = panics(PanicConfig(medium="sda", on_removal=OnRemoval.PURGE, gpio="gpiochip0:17"))
    assert [check.name for check in both] == ["medium", "panic_button"]
    assert {check.weight for check in both} == {Weight.NOTICE}


@pytest.mark.parametrize(("enabled", "announce"), [(True, False), (False, True), (False, False)])
def test_the_local_network_has_a_check_where_it_is_used(enabled: bool, announce: bool) -> None:
    config = DiscoveryConfig(enabled=enabled, announce=announce)
    checks = checks_of(DEFAULTS.panic, DEFAULTS.downstream, config, DEFAULTS.mqtt, lambda: 0.5)
    assert (DISCOVERY in checks) is (enabled or announce)
    assert DISCOVERY.weight is Weight.NOTICE


def test_a_bridge_without_its_broker_is_told_and_never_takes_a_node_out() -> None:
    def checks(mqtt: MqttConfig) -> tuple[Check, ...]:
        return checks_of(PanicConfig(), DEFAULTS.downstream, DEFAULTS.discovery, mqtt, float)

    assert MQTT in checks(MqttConfig(url="mqtts://broker"))
    assert MQTT.weight is Weight.NOTICE
    assert MQTT not in checks(MqttConfig())
