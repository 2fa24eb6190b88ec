"""The sections: safe by default, and nothing a peer can reach beyond loopback."""

from dataclasses import fields, is_dataclass

from overlay_edge.config import DEFAULTS
from overlay_edge.config.values import split_addr


def test_the_defaults_listen_on_loopback_only() -> None:
    assert split_addr(DEFAULTS.oap.addr)[0] == split_addr(DEFAULTS.admin.addr)[0] == "127.0.0.1"


def test_every_section_is_frozen() -> None:
    for field in fields(DEFAULTS):
        section = getattr(DEFAULTS, field.name)
        if is_dataclass(section):
            assert section.__dataclass_params__.frozen  # type: ignore[union-attr]
    assert DEFAULTS.__dataclass_params__.frozen


def test_amnesia_is_on_unless_somebody_turns_it_off() -> None:
    assert DEFAULTS.amnesia
