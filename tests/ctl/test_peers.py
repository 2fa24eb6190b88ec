"""The neighbours of a node, and what is held against them."""

from overlay_edge.errors import Refused
from tests.ctl.conftest import Ronctl
from tests.support.controlled import controlled

PEER: dict[str, object] = {
    "id": "ab" * 32,
    "addr": "10.0.0.1:9444\x1b[2J",
    "role": "eager",
    "outbound": True,
    "rtt_ms": 12.5,
    "score": -11.0,
    "congested": True,
    "faults": [{"fault": "graft_rate", "ago_s": 1.0}, {"fault": "graft_rate", "ago_s": 2.0}],
}


def test_a_row_says_who_where_how_and_what_was_wrong(ronctl: Ronctl) -> None:
    with controlled() as node:
        node.controls.neighbours = [PEER]
        node.controls.stats = {"active": 1, "passive": 4, "graylisted": 2, "fault_graft_rate": 9}
        done = ronctl("--admin", node.address, "peers")
    assert done.code == 0
    row = done.out.splitlines()[1]
    for word in ("abababababababab", "eager", "out", "12.5", "-11.0", "graft_rate x2", "CONGESTED"):
        assert word in row
    assert "\x1b" not in row
    assert "1 neighbours, 4 other nodes known, 2 sent away" in done.out
    assert "faults since the start: graft_rate 9" in done.out


def test_a_node_without_neighbours_has_only_a_head(ronctl: Ronctl) -> None:
    with controlled() as node:
        done = ronctl("--admin", node.address, "peers")
        fields = ronctl("--json", "--admin", node.address, "peers").json
    assert len(done.out.splitlines()) == 2
    assert fields["peers"] == []


def test_a_refusal_is_told(ronctl: Ronctl) -> None:
    with controlled() as node:
        node.controls.error = Refused(404, "not_found", "this node takes no part in the mesh")
        done = ronctl("--admin", node.address, "peers")
    assert done.code == 1
    assert "takes no part" in done.err
