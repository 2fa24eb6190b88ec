"""Health: one snapshot, told to probes by its status code and to people by its words."""

from dataclasses import replace

import pytest

from overlay_edge.admin.health import DEAD_S, live, one, promise, ready
from overlay_edge.config import ReadinessConfig
from overlay_edge.host.rules import Standing
from overlay_edge.proto.checks import CLOCK, SAMPLED, Check, Dwell, Weight
from overlay_edge.proto.readiness import RETRY_S, Readiness, Snapshot
from tests.support.hand_view import report

CHECKS = (
    Check("tls", clears="a certificate is loaded"),
    Check("inflight", Weight.SOFT, dwell=Dwell.BACK),
    CLOCK,
    SAMPLED[0],
)


def node(*, tls: bool = True, inflight: int = 0, clock: bool = True) -> Snapshot:
    """A node that was asked at 10 s, sampled at 9.5 s, and told the rest at 8 s."""
    readiness = Readiness(ReadinessConfig(high=0.8, low=0.5), now=0.0, checks=CHECKS)
    readiness.set("tls", tls, "expired", now=8.0)
    readiness.gauge("inflight", inflight, 100, now=8.0)
    readiness.set("clock", clock, "before the build", now=8.0)
    readiness.sampled(now=9.5)
    return readiness.snapshot(now=10.0)


def test_a_process_is_alive_however_ill_the_node_is() -> None:
    assert live(node(tls=False)) == (200, {"alive": True}, {"X-Ready-Age": "0.500"})


@pytest.mark.parametrize(("age_s", "status"), [(DEAD_S, 200), (DEAD_S + 0.1, 503)])
def test_a_process_is_dead_when_its_loop_has_stood_still(age_s: float, status: int) -> None:
    assert live(replace(node(), age_s=age_s)).status == status


def test_the_short_answer_has_only_what_a_probe_needs() -> None:
    answer = ready(node(), wall_now=0.0)
    assert answer == (
        200,
        {"ready": True, "degraded": False, "missing": []},
        {"X-Ready-Age": "0.500"},
    )


def test_a_notice_is_named_and_the_code_still_says_yes() -> None:
    status, body, headers = ready(node(clock=False), wall_now=0.0)
    assert (status, body["degraded"], body["missing"]) == (200, True, ["clock"])
    assert body["reasons"] == {"clock": "before the build"}
    assert "Retry-After" not in headers


def test_every_check_says_value_limit_since_and_what_clears_it() -> None:
    status, body, headers = ready(node(inflight=90), verbose=True, wall_now=1_700_000_000.0)
    assert (status, headers["Retry-After"]) == (503, str(RETRY_S))
    checks = body["checks"]
    assert isinstance(checks, list)
    assert checks[1] == {
        "name": "inflight",
        "ok": False,
        "reason": "90 of 100, ready again below 50",
        "weight": "soft",
        "since": "2023-11-14T22:13:18.000+00:00",
        "for_s": 2.0,
        "value": 90,
        "limit": 100,
        "clears": "below 50",
    }
    assert all(check["clears"] for check in checks)


def test_the_promise_is_told_with_what_no_check_stands_for() -> None:
    promised = report(log=Standing.BROKEN)
    body = ready(node(), verbose=True, amnesia=promised, wall_now=0.0).body
    assert body["amnesia"] == {"on": True, "kept": False, "told": {"disks": "disks detail"}}
    assert "amnesia" not in ready(node(), wall_now=0.0).body


def test_the_page_of_the_promise_says_each_rule_and_how_it_is_known() -> None:
    status, body, _ = promise(report())
    assert (status, body["amnesia"], body["kept"]) == (200, True, True)
    rules = body["rules"]
    assert isinstance(rules, list)
    assert rules[0] == {
        "rule": "swap",
        "required": True,
        "state": "kept",
        "promise": "swap promise",
        "known_by": "/proc/x",
        "detail": "swap detail",
    }
    assert [rule["state"] for rule in rules[1:]] == ["not here", "broken", "unknown"]


def test_who_leaves_out_what_fails_is_told_yes_and_what_was_left_out() -> None:
    answer = ready(node(tls=False), exclude=["tls, weather"], verbose=True, wall_now=0.0)
    assert (answer.status, answer.body["excluded"]) == (200, ["tls"])
    assert len(answer.body["checks"]) == len(CHECKS) - 1  # type: ignore[arg-type]


def test_names_nobody_knows_change_nothing() -> None:
    assert ready(node(), exclude=["", ",,", "x"], wall_now=0.0) == ready(node(), wall_now=0.0)


def test_a_notice_alone_is_a_no_on_its_own_page_with_a_time_to_ask_again() -> None:
    status, body, headers = one(node(clock=False), "clock", wall_now=0.0)
    assert (status, body["weight"], headers["Retry-After"]) == (503, "notice", str(RETRY_S))
    assert one(node(), "clock", wall_now=0.0).status == 200


def test_a_check_nobody_declared_is_not_found_and_the_others_are_named() -> None:
    status, body, _ = one(node(), "weather", wall_now=0.0)
    assert (status, body["checks"]) == (404, ["tls", "inflight", "clock", "sampler"])
