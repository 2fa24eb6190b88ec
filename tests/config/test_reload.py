"""Reload's difference: complete, honest about restarts, and silent about secrets."""

import pytest

from overlay_edge.config import DEFAULTS, OPTIONS, parse
from overlay_edge.config.reload import LIVE, REDACTED, Change, compare, is_live
from overlay_edge.errors import ConfigError


def test_nothing_differs_from_itself() -> None:
    assert compare(DEFAULTS, DEFAULTS) == ()


def test_live_keys_are_listed_with_both_values() -> None:
    new = parse('log_level = "debug"\npeer.max_rps = 7\ntimeouts.idle = "1m"')
    changes = compare(DEFAULTS, new)
    assert changes == (
        Change("log_level", '"info"', '"debug"'),
        Change("peer.max_rps", "500", "7"),
        Change("timeouts.idle", '"15s"', '"1m"'),
    )
    assert str(changes[1]) == "peer.max_rps: 500 -> 7"


def test_every_key_that_needs_a_restart_is_named_and_nothing_else() -> None:
    new = parse(
        'profile = "pi4"\noap.addr = "127.0.0.1:1"\nadmin.addr = "[::1]:2"\npeer.max_rps = 7'
    )
    with pytest.raises(ConfigError) as caught:
        compare(DEFAULTS, new)
    keys = [line.partition(":")[0] for line in caught.value.mistakes]
    assert keys == ["profile", "oap.addr", "admin.addr"]
    assert all(line.endswith("needs a restart") for line in caught.value.mistakes)
    assert "nothing was changed" in caught.value.hint


@pytest.mark.parametrize(
    "key",
    [
        "profile",
        "amnesia",
        "oap.addr",
        "admin.addr",
        "store.path",
        "audit.sink",
        "discovery.announce",
        "mqtt.in",
    ],
)
def test_what_is_built_once_needs_a_restart(key: str) -> None:
    assert not is_live(key)


def test_where_secrets_are_is_not_told() -> None:
    changes = compare(DEFAULTS, parse('tls.cert = "/run/a.pem"\ntls.key = "/run/vault/b.pem"'))
    assert "/run/a.pem" in str(changes)
    assert "vault" not in str(changes)


def test_a_live_key_is_one_that_exists() -> None:
    sections = {f"{key.partition('.')[0]}." for key in OPTIONS if "." in key} | {"auth."}
    assert {key for key in LIVE if not key.endswith(".")} <= OPTIONS.keys()
    assert {key for key in LIVE if key.endswith(".")} <= sections
    assert OPTIONS.keys() | {"auth.keys"} >= REDACTED


def test_maps_of_a_bridge_are_named_in_full_and_its_credentials_are_not() -> None:
    text = """
        gossip.enabled = true
        [mqtt]
        url = "mqtts://broker"
        credentials = "/run/vault/word"
        out = ["a -> b"]
    """
    with pytest.raises(ConfigError) as caught:
        compare(DEFAULTS, parse(text))
    told = "\n".join(caught.value.mistakes)
    assert 'mqtt.out: [] -> ["a -> b"]: needs a restart' in told
    assert "vault" not in told
