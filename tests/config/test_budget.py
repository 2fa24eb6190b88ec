"""The worst case: every limit once, and their sum."""

from dataclasses import replace
from pathlib import Path

import pytest

from overlay_edge.config import DEFAULTS, PROFILES, apply_profile, parse, require_fit
from overlay_edge.config.budget import total_bytes, worst_case

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
