"""MQTT parts: what the settings name is read once, and refused by its key."""

from pathlib import Path
from typing import Any

import pytest

from overlay_edge.bridge.mqtt_bridge import MqttBridge
from overlay_edge.bridge.mqtt_parts import make_bridge
from overlay_edge.config import MqttConfig
from overlay_edge.errors import EdgeError
from overlay_edge.host.journal import Journal


def made(**settings: Any) -> MqttBridge:
    return make_bridge(
        MqttConfig(url="mqtts://localhost", **settings),
        None,
        telemetry=None,
        name="edge",
        journal=Journal("debug", lambda _: None),
        on_change=lambda _: None,
    )


def private(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    path.chmod(0o600)
    return str(path)


async def test_credentials_are_read_and_wiped_at_the_end(tmp_path: Path) -> None:
    bridge = made(credentials=private(tmp_path / "word", b"edge:word\n"))
    secret = bridge._credentials
    assert secret is not None
    assert bytes(secret.reveal()) == b"edge:word"
    bridge.close()
    assert len(secret) == 0


@pytest.mark.parametrize(
    ("key", "data", "reason"),
    [
        ("ca", b"nonsense", "mqtt.ca: not certificates in PEM"),
        ("credentials", b"two\nlines", "mqtt.credentials: expected one line of printable ASCII"),
    ],
)
async def test_a_file_that_cannot_be_used_is_refused_by_its_key(
    tmp_path: Path, key: str, data: bytes, reason: str
) -> None:
    with pytest.raises(EdgeError, match=reason):
        made(**{key: private(tmp_path / "file", data)})


async def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "word"
    path.write_bytes(b"edge:word")
    path.chmod(0o644)
    with pytest.raises(EdgeError, match=r"mqtt\.credentials: .*mode 0644"):
        made(credentials=str(path))
