"""Nodes that find each other on loopback, as an operator sees it."""

from dataclasses import replace

import pytest

from overlay_edge.config import DEFAULTS, DiscoveryConfig
from tests.support.edge import LOCAL, edge
from tests.support.meshed import port

NEAR = replace(LOCAL, discovery=DiscoveryConfig(enabled=True, announce=True, interfaces=("lo",)))


@pytest.mark.slow
async def test_two_nodes_see_each_other_and_say_so() -> None:
    async with edge(NEAR) as one:
        async with edge(NEAR) as two:
            await one.until(lambda: one.node.view.counters().discovery.nodes == 1)  # type: ignore[union-attr]
            await two.until(lambda: '"event":"discovery_name"' in two.log)
            assert f'"addr":"{two.oap}"' in one.log
            assert two.pin in one.log
            check = {c.name: c for c in one.node.view.readiness().checks}["discovery"]
            assert check.ok, check.reason
        await one.until(lambda: '"event":"node_gone"' in one.log)


@pytest.mark.slow
async def test_in_a_panic_the_others_are_told_first() -> None:
    async with edge(NEAR) as one, edge(NEAR) as two:
        await one.until(lambda: '"event":"node_seen"' in one.log)
        two.node.panic.end("test")
        await one.until(lambda: '"event":"node_gone"' in one.log)


async def test_who_does_not_ask_for_it_has_no_part_of_it() -> None:
    assert not DEFAULTS.discovery.enabled
    assert not DEFAULTS.discovery.announce
    async with edge(LOCAL) as node:
        assert node.node.view.counters().discovery is None
        assert "discovery" not in {c.name for c in node.node.view.readiness().checks}


@pytest.mark.slow
async def test_a_mesh_forms_of_nodes_that_nobody_has_told_of_each_other() -> None:
    gossip = replace(NEAR.gossip, enabled=True)
    async with edge(replace(NEAR, gossip=gossip)) as one, edge(replace(NEAR, gossip=gossip)) as two:
        await one.until(lambda: port(one).peers() and port(two).peers())
        assert {row["id"] for row in port(one).peers()} == {port(two).id.hex()}
        assert port(one).stats()["impostors"] == 0
