"""MQTT messages: what a bridge counts."""

from overlay_edge.bridge.mqtt_message import Traffic, first_reason


def test_the_first_error_says_why_and_silence_has_words_too() -> None:
    inner = ExceptionGroup("tasks", [OSError("refused"), ValueError("later")])
    assert first_reason(ExceptionGroup("all", [inner]), 5) == "refused"
    assert first_reason(ExceptionGroup("all", [TimeoutError()]), 0.5) == "no answer within 0.5 s"


def test_each_bridge_counts_for_itself() -> None:
    one, other = Traffic(), Traffic()
    one.shed["rate"] += 1
    one.into += 1
    assert other == Traffic()
    assert one.shed["never"] == 0
