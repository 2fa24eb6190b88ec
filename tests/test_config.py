"""The config: one table of options, every mistake named, profiles that only lower."""

from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.config import (
    CAPS,
    DEFAULTS,
    MAX_MISTAKES,
    MAX_TEXT,
    OPTIONS,
    PROFILES,
    SECTIONS,
    Config,
    PqMode,
    apply_profile,
    get,
    lowered,
    override,
    parse,
    require_fit,
    to_toml,
)
from overlay_edge.errors import ConfigError

PACKAGE = Path(__file__).parents[1] / "overlay_edge"
PROFILE_TEXTS = {name: (PACKAGE / f"profiles/{name}.toml").read_text() for name in PROFILES}


def mistakes(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return caught.value.mistakes


def test_the_manual_names_every_key_and_equals_the_defaults() -> None:
    manual = (PACKAGE / "default.toml").read_text()
    assert parse(manual) == Config()
    for key in OPTIONS:
        assert f"\n{key.rpartition('.')[2]} = " in manual, key
    assert manual.count("(cap)") == len(CAPS) + 1


def test_every_field_has_its_line_in_the_table_and_every_line_its_field() -> None:
    found = set()
    for top in fields(Config):
        value = getattr(DEFAULTS, top.name)
        prefix = f"{top.name}." if is_dataclass(value) else ""
        for leaf in fields(value) if is_dataclass(value) else [top]:
            found.add(prefix + leaf.name)
    assert found == {key + option.suffix for key, option in OPTIONS.items()}


def test_an_empty_file_changes_nothing() -> None:
    assert parse("") == Config()


def test_a_file_lies_over_its_base() -> None:
    base = parse('profile = "pi4"\n[peer]\nmax_rps = 7')
    config = parse("[peer]\ninflight_frames = 9", base=base)
    assert (config.profile, config.peer.max_rps, config.peer.inflight_frames) == ("pi4", 7, 9)


def test_units_become_bytes_and_seconds() -> None:
    config = parse(
        'handshake_timeout = "250ms"\n[store]\nobject_max = "64KiB"\nttl = "2h"\n'
        "[readiness]\nhigh = 1"
    )
    assert config.handshake_timeout_s == 0.25
    assert config.store.object_max_bytes == 65536
    assert config.store.ttl_s == 7200.0
    assert config.readiness.high == 1.0


def test_a_file_saved_by_a_windows_editor_is_read() -> None:
    assert parse("\N{ZERO WIDTH NO-BREAK SPACE}[peer]\r\nmax_rps = 7\r\n").peer.max_rps == 7


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[peer]\ninflight_frames = 0", "peer.inflight_frames: 0, expected 1 to 1024"),
        ("[peer]\ninflight_frames = true", "peer.inflight_frames: true, expected 1 to 1024"),
        ("[peer]\ninflight_frames = 64.0", "peer.inflight_frames: 64.0, expected 1 to 1024"),
        ('[peer]\nmax_rps = "9"', 'peer.max_rps: "9", expected 1 to 100000'),
        ("[peer]\nmax_rps = []", "peer.max_rps: a list, expected 1 to 100000"),
        ("[peer]\nmax_rps.x = 1", "peer.max_rps: a section, expected 1 to 100000"),
        ("amnesia = 1", "amnesia: 1, expected true or false"),
        ('oap.pq_mode = "x"', 'oap.pq_mode: "x", expected one of classical, hybrid'),
        ("log_level = 3", "log_level: 3, expected one of debug, info, warning, error"),
        ("oap.addr = 9444", 'oap.addr: 9444, expected "host:port" in quotes'),
        ("readiness.high = 1.5", "readiness.high: 1.5, expected a fraction above 0, up to 1"),
        ("readiness.high = nan", "readiness.high: nan, expected a fraction above 0, up to 1"),
        ('store.path = "x"', 'store.path: "x", expected a path that starts with /, or nothing'),
        ('store.ttl = "9ms"', 'store.ttl: "9ms", expected 10ms to 720h'),
        ('store.total_max = "65GiB"', 'store.total_max: "65GiB", expected 1B to 64GiB'),
        (
            'downstream.required = ["dns"]',
            "downstream.required: a list, expected a list of some of index, storage, mailbox",
        ),
        (
            'downstream.storage = "ftp://h/"',
            'downstream.storage: "ftp://h/", expected a URL such as "https://host:port/path",'
            " without a user or password",
        ),
        ("store = 3", "store: 3, expected a section [store]"),
        ("colour = 3", "colour: unknown key"),
        ("[gossip]\nfanout = 3", "gossip.fanout: unknown key"),
        ("[tor]\nport = 3", "tor: unknown section"),
        (
            'gossip.peers = ["a"]',
            'gossip.peers: a list, expected "host:port" with a port of 0 to 65535, IPv6 as'
            ' "[::1]:9444"',
        ),
        ("gossip.peers = 3", 'gossip.peers: 3, expected a list of up to 64 of "host:port"'),
    ],
)
def test_a_mistake_is_named_with_its_full_key_and_what_was_expected(text: str, line: str) -> None:
    assert mistakes(text) == (line,)


def test_all_mistakes_of_a_file_are_found_in_one_go() -> None:
    found = mistakes("amnesia = 0\ncolour = 1\n[peer]\nmax_rps = 0\n[store]\nttl = 5")
    assert [line.partition(":")[0] for line in found] == [
        "amnesia", "colour", "peer.max_rps", "store.ttl",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            '[store]\nobject_max = "97MiB"',
            "store.object_max: 97MiB, expected at most store.total_max, which is 96MiB",
        ),
        ('tls.cert = "c.pem"', "tls.key: missing, expected because tls.cert is set"),
        ('tls.key = "k.pem"', "tls.cert: missing, expected because tls.key is set"),
        (
            'gossip.cap_key = "k.pem"',
            "gossip.cap: missing, expected because gossip.cap_key is set",
        ),
        (
            "readiness.low = 0.9",
            "readiness.low: 0.9, expected below readiness.high, which is 0.85",
        ),
        (
            'downstream.required = ["mailbox"]',
            "downstream.mailbox: missing, expected because downstream.required names it",
        ),
        (
            'downstream.index = "http://h:1"',
            "downstream.storage: missing, expected because downstream.index is set",
        ),
        (
            "downstream.write_through = true",
            "downstream.storage: missing, expected because downstream.write_through is set",
        ),
        (
            'admin.addr = "127.0.0.1:9444"',
            'admin.addr: "127.0.0.1:9444", expected another one than oap.addr',
        ),
    ],
)
def test_keys_that_do_not_go_together_are_refused(text: str, line: str) -> None:
    assert mistakes(text) == (line,)


def test_both_listeners_may_take_any_free_port() -> None:
    parse('oap.addr = "127.0.0.1:0"\nadmin.addr = "127.0.0.1:0"')


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("[peer]\ninflght_frames = 1", "peer.inflight_frames instead of peer.inflght_frames"),
        ("max_rps = 1", "peer.max_rps instead of max_rps"),
        ("[stroe]", "store instead of stroe"),
    ],
)
def test_an_unknown_key_gets_the_nearest_known_one(text: str, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert caught.value.hint == f"did you mean {near}?"


def test_text_that_is_no_toml_is_refused_with_its_name_and_line() -> None:
    with pytest.raises(ConfigError, match=r"site\.toml: not TOML: .*line 2"):
        parse("amnesia = true\nwhat is this", source="site.toml")


@pytest.mark.parametrize(
    "text",
    [
        "a=" + "[" * 20_000,
        "a=" + "1" * 5000,
        "x" * (MAX_TEXT + 1),
        "[peer]\nmax_rps=0x1" + "0" * 9999,
    ],
    ids=["deep", "digits", "long", "hex"],
)
def test_text_made_to_exhaust_the_reader_is_one_short_mistake(text: str) -> None:
    (line,) = mistakes(text)
    assert len(line) < 200


def test_a_file_of_noise_ends_in_a_bounded_list() -> None:
    found = mistakes("\n".join(f"k{n} = 1" for n in range(3000)))
    assert len(found) == MAX_MISTAKES + 1
    assert found[-1] == "and 2950 more"


@given(st.text(max_size=200))
def test_noise_is_parsed_or_a_config_error(text: str) -> None:
    with suppress(ConfigError):
        parse(text)


TOML_VALUES = st.one_of(
    st.sampled_from(["true", "nan", "-inf", "0", "-1", "1e400", "2020-01-01", "[]", "{}", "''"]),
    st.sampled_from(['"5s"', '"0s"', '"9h"', '"1B"', '"9GiB"', '"[::]:1"', '"h:1"', '"off"']),
    st.integers().map(str),
    st.floats().map(repr),
)
KEYS = st.one_of(
    st.sampled_from([*OPTIONS, *SECTIONS, "peer.max_rps.x"]), st.from_regex(r"[a-z]{1,9}")
)


@given(st.lists(st.tuples(KEYS, TOML_VALUES), max_size=8))
def test_well_formed_nonsense_is_a_config_that_prints_back_or_a_config_error(
    lines: list[tuple[str, str]],
) -> None:
    try:
        config = parse("\n".join(f"{key.strip()} = {value}" for key, value in lines))
    except ConfigError as error:
        broken = [line for line in error.mistakes if not line.isprintable()]
    else:
        broken = [] if parse(to_toml(config)) == config else ["does not print back"]
    assert not broken


@given(st.one_of(st.sampled_from(sorted(OPTIONS)), st.text(max_size=20)), st.text(max_size=40))
def test_a_flag_of_noise_is_a_config_or_a_config_error(key: str, value: str) -> None:
    try:
        config = override(DEFAULTS, key, value)
    except ConfigError:
        return
    assert parse(to_toml(config)) == config


def test_flags_set_one_key_with_the_same_checks() -> None:
    config = override(DEFAULTS, "oap.addr", "[::]:0")
    config = override(config, "oap.pq_mode", "off")
    config = override(config, "peer.max_rps", "9")
    config = override(config, "amnesia", "false")
    config = override(config, "readiness.low", "0.5")
    config = override(config, "store.ttl", "5m")
    assert config.oap.addr == "[::]:0"
    assert config.oap.pq_mode is PqMode.CLASSICAL
    assert (config.peer.max_rps, config.amnesia) == (9, False)
    assert (config.readiness.low, config.store.ttl_s) == (0.5, 300.0)
    with pytest.raises(ConfigError, match=r"^peer\.max_rps: 0, expected 1 to 100000$"):
        override(DEFAULTS, "peer.max_rps", "0")
    with pytest.raises(ConfigError, match=r"^oap\.adr: unknown key$") as caught:
        override(DEFAULTS, "oap.adr", "x:1")
    assert "oap.addr" in caught.value.hint


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_names_every_cap_and_keeps_the_defaults_consistent(name: str) -> None:
    config = apply_profile(DEFAULTS, PROFILE_TEXTS[name])
    for key in CAPS:
        assert f"\n{key.rpartition('.')[2]} = " in PROFILE_TEXTS[name], key
        assert get(config, key) <= get(DEFAULTS, key)


@given(
    st.sampled_from(PROFILES), st.dictionaries(st.sampled_from(sorted(CAPS)), st.integers(1, 256))
)
def test_a_profile_only_ever_lowers_a_cap(name: str, wanted: dict[str, int]) -> None:
    wanted.pop("store.total_max", None)
    if wanted.get("memory_budget", 1) > 64:
        del wanted["memory_budget"]
    for key, low, high in (
        ("gossip.active", 2, 16),
        ("gossip.passive", 4, 256),
        ("gossip.relay_fanout", 2, 16),
    ):
        if key in wanted:
            wanted[key] = max(low, min(high, wanted[key]))
    units = {
        "memory_budget": '"{}GiB"',
        "transport.pool": '"{}MiB"',
        "quota.traffic": '"{}MiB"',
        "store.object_max": '"{}KiB"',
        "downstream.object_max": '"{}MiB"',
        "quota.max_keys": "1{:03}",
        "audit.records": "1{:03}",
        "audit.ring": '"70{:03}B"',
        "gossip.max_message": '"1{:03}B"',
        "gossip.cache": '"1{:03}KiB"',
        "gossip.cache_age": '"{}s"',
        "gossip.dedup_ids": "1{:03}9",
        "mqtt.backlog": '"1{:03}KiB"',
        "mqtt.backlog_messages": "1{:03}",
    }
    lines = [f"{k} = {units.get(k, '{}').format(n)}" for k, n in wanted.items()]
    before = parse("\n".join(lines))
    after = apply_profile(before, PROFILE_TEXTS[name])
    for key in OPTIONS:
        if key in CAPS:
            assert get(after, key) <= get(before, key)
        else:
            assert get(after, key) == get(before, key)
    assert apply_profile(after, PROFILE_TEXTS[name]) == after
    assert len(lowered(before, after)) == sum(get(after, k) < get(before, k) for k in CAPS)


def test_a_profile_may_not_set_what_is_no_cap() -> None:
    with pytest.raises(ConfigError, match="amnesia: not a cap"):
        apply_profile(DEFAULTS, "amnesia = false")


def test_what_a_profile_lowered_is_said_with_units() -> None:
    after = apply_profile(DEFAULTS, '[peer]\nmax_rps = 50\n[store]\ntotal_max = "64MiB"')
    assert lowered(DEFAULTS, after) == (
        "peer.max_rps: 500 lowered to 50",
        'store.total_max: "96MiB" lowered to "64MiB"',
    )


def test_a_session_gets_its_own_few_values() -> None:
    session = parse("peer.max_rps = 7\ntimeouts.read = '1s'").session("X25519")
    assert (session.max_rps, session.read_timeout_s, session.pq) == (7, 1.0, "X25519")
    assert session.idle_timeout_s == DEFAULTS.timeouts.idle_s


@pytest.mark.parametrize("name", PROFILES)
def test_the_worst_case_of_every_profile_fits_its_budget(name: str) -> None:
    require_fit(apply_profile(DEFAULTS, PROFILE_TEXTS[name]))


def test_limits_that_come_to_more_than_the_budget_are_refused_with_the_largest_part() -> None:
    config = parse('memory_budget = "300MiB"\nstore.total_max = "400MiB"')
    with pytest.raises(ConfigError, match=r"memory_budget: 300MiB, expected at least \d+MiB") as c:
        require_fit(config)
    assert "objects: 400MiB" in c.value.hint
