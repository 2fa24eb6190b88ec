"""MQTT messages: what a bridge counts."""

from overlay_edge.bridge.mqtt_message import Traffic


def test_each_bridge_counts_for_itself() -> None:
    one, other = Traffic(), Traffic()
    one.shed["rate"] += 1
    one.into += 1
    assert other == Traffic()
    assert one.shed["never"] == 0
