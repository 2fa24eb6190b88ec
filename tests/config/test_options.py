from dataclasses import fields

import pytest

from overlay_edge.config import override, parse
from overlay_edge.config.options import CAPS, OPTIONS, PATHS, SECTIONS
from overlay_edge.config.sections import Config
from overlay_edge.errors import ConfigError


def test_every_section_of_the_config_has_options_and_every_option_a_section() -> None:
    names = {field.name for field in fields(Config)}
    assert set(SECTIONS) <= names
    assert all("." in key or any(name.startswith(key) for name in names) for key in OPTIONS)


def test_what_names_a_file_is_known_to_do_so() -> None:
    assert {"store.path", "tls.cert", "tls.key", "audit.credentials"} <= set(PATHS)


def test_a_profile_may_lower_what_bounds_load_and_nothing_else() -> None:
    assert "transport.max_conns" in CAPS
    assert not CAPS & {"amnesia", "store.path", "auth.mode"}


def test_interfaces_are_a_few_names() -> None:
    config = parse('discovery.interfaces = ["eth0", "wlan0", "eth0", "br-1.5@x"]')
    assert config.discovery.interfaces == ("eth0", "wlan0", "br-1.5@x")
    assert override(config, "discovery.interfaces", "lo,eth1").discovery.interfaces == (
        "lo",
        "eth1",
    )
    for value in ('["eth0/../x"]', '[""]', "[7]", '["a-name-of-16-char"]', "true", str(["x"] * 9)):
        with pytest.raises(ConfigError, match=r"discovery\.interfaces: .* names of interfaces"):
            parse(f"discovery.interfaces = {value}")
