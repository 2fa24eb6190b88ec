"""Trial: the limits that the mesh is held to, with the machines that boards run.

The limits are those of its nearest relative's own tests: redundancy below 0.2 with one sender,
1 with senders at random and 3 when all send at once; last hop below 15, 18 and 30.
"""

from dataclasses import replace

import pytest

from overlay_edge.sim.network import Weather
from overlay_edge.sim.trial import Plan, Report, Trial, percentile

PERIOD_S = 10.0  # of anti-entropy, by default
BIG = 2000  # beyond what a small mesh floods


def run(nodes: int, **changes: object) -> Report:
    plan = Plan(nodes=nodes, messages=50)
    report = Trial(replace(plan, **changes)).run()  # type: ignore[arg-type]
    assert report.unaccounted == 0, f"seed {plan.seed}: delivered and gapped is not published"
    assert report.doubles == 0
    assert report.shed == 0
    return report


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("nodes", [20, 100])
@pytest.mark.parametrize(
    ("senders", "rmr", "ldh"), [("one", 0.2, 15), ("random", 1.0, 18), ("burst", 3.0, 30)]
)
def test_everybody_hears_everything_within_the_limits(
    nodes: int, senders: str, rmr: float, ldh: int, seed: int
) -> None:
    messages = 2 * nodes if senders == "burst" else 50
    report = run(nodes, senders=senders, messages=messages, size_bytes=BIG, seed=seed)
    assert report.missed == 0
    assert report.rmr < rmr
    assert max(report.ldh) < ldh


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("nodes", [20, 100])
def test_one_payload_in_ten_lost_is_repaired_within_two_periods(nodes: int, seed: int) -> None:
    report = run(nodes, senders="random", seed=seed, weather=Weather(drop=0.1))
    assert report.missed == 0
    assert report.repair_s <= 2 * PERIOD_S


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("nodes", [8, 20, 100])
def test_half_of_the_boards_crash_and_the_others_hear_everything(nodes: int, seed: int) -> None:
    report = run(nodes, crash=0.5, seed=seed, size_bytes=BIG)
    assert report.live == nodes - round(0.5 * (nodes - 1))
    assert report.missed == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_cut_shorter_than_the_cache_loses_nothing(seed: int) -> None:
    report = run(20, senders="random", part_s=30.0, messages=100, seed=seed)
    assert report.missed == 0
    assert report.early > 0


@pytest.mark.slow
def test_a_cut_longer_than_the_cache_is_told_as_gaps() -> None:
    config = replace(Plan().config, cache_age_s=5.0, antientropy_s=5.0)
    report = run(12, senders="random", part_s=40.0, messages=100, config=config)
    assert report.gapped > 0
    assert report.delivered + report.gapped == report.expected


def test_a_small_mesh_in_one_quick_run() -> None:
    report = run(6, messages=10)
    assert (report.live, report.published, report.expected) == (6, 10, 60)
    assert (report.delivered, report.missed, report.early) == (60, 0, 0)
    assert len(report.timeline) == 60
    assert report.held_most >= report.held_per_node > 0


def test_a_publisher_over_its_rate_is_shed_and_the_rest_arrives() -> None:
    config = replace(Plan().config, rate=5)
    report = Trial(Plan(nodes=3, messages=30, interval_s=0.0, config=config)).run()
    assert report.shed == 20
    assert (report.published, report.missed) == (10, 0)


def test_progress_is_told_from_joining_to_publishing() -> None:
    told: list[tuple[str, float]] = []
    Trial(Plan(nodes=3, messages=2), lambda what, share: told.append((what, share))).run()
    assert [what for what, share in told if share == 1.0] == ["joining", "settling", "publishing"]


def test_a_share_of_sorted_values() -> None:
    assert percentile((), 0.5) == 0.0
    assert percentile((1.0, 2.0, 3.0, 4.0), 0.5) == 3.0
    assert percentile((1.0, 2.0), 1.0) == 2.0
