"""Grants: a table that only ever gets smaller."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.proto.capability import (
    OBJECT_OPS,
    TOPIC_OPS,
    Capability,
    Grant,
    Op,
    covers,
    from_text,
    is_pattern,
    join_section,
    meet,
    split_section,
    to_text,
)

LEVELS = st.sampled_from(["a", "b", "*"])
PATTERNS = st.builds(
    lambda levels, tail: "/".join([*levels, *tail]),
    st.lists(LEVELS, max_size=3),
    st.sampled_from([["**"], ["a"], ["*"]]),
)
TOPICS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map("/".join)
PREFIXES = st.text("b3:0f", max_size=4)
GRANTS = st.builds(
    Grant,
    rights=st.dictionaries(st.sampled_from(Op), st.lists(PREFIXES, max_size=3).map(tuple)),
    topics=st.lists(PATTERNS, max_size=3).map(tuple),
    max_bytes=st.none() | st.integers(0, 9),
)
SUBJECTS = TOPICS | PREFIXES | st.just("")
SIZES = st.integers(0, 9)


def test_a_grant_covers_what_it_names_and_nothing_else() -> None:
    grant = Grant(
        rights={Op.GET: ("b3:aa", "b3:bb"), Op.PUBLISH: ("",)}, topics=("site/*/heat",), max_bytes=5
    )
    assert grant.allows(Op.GET, "b3:aa01")
    assert not grant.allows(Op.GET, "b3:cc01")
    assert not grant.allows(Op.GET)
    assert not grant.allows(Op.PUT, "b3:aa01")
    assert grant.allows(Op.PUBLISH, "site/7/heat", 5)
    assert not grant.allows(Op.PUBLISH, "site/7/heat", 6)
    assert not grant.allows(Op.PUBLISH, "site/7/8/heat")
    assert not grant.allows(Op.SUBSCRIBE, "site/7/heat")
    assert grant.ops == {Op.GET, Op.PUBLISH}


def test_control_has_no_subject() -> None:
    grant = Grant(rights={Op.CONTROL: ("",)})
    assert grant.allows(Op.CONTROL)
    assert not grant.only_objects([""]).allows(Op.CONTROL)


def test_a_put_whose_address_is_not_known_needs_every_object() -> None:
    assert Grant(rights={Op.PUT: ("",)}).allows(Op.PUT)
    assert not Grant(rights={Op.PUT: ("b3:a",)}).allows(Op.PUT)


@given(PATTERNS, PATTERNS, TOPICS)
def test_two_patterns_meet_in_exactly_what_both_take(one: str, other: str, topic: str) -> None:
    assert is_pattern(one)
    met = meet(one, other)
    both = covers(one, topic) and covers(other, topic)
    assert (met is not None and covers(met, topic)) == both
    assert met is None or is_pattern(met)


def test_two_stars_take_one_level_or_more() -> None:
    assert covers("a/**", "a/b/c")
    assert not covers("a/**", "a")
    assert not covers("**", "")


def test_no_topic_with_a_star_is_covered() -> None:
    assert not covers("**", "a/*")


def test_patterns_that_are_none() -> None:
    assert not any(map(is_pattern, ["", "/", "a//b", "a*", "**/a", "a/", "***"]))


@given(GRANTS, st.sampled_from(Op), SUBJECTS, SIZES, st.data())
def test_narrowing_never_widens(
    grant: Grant, op: Op, subject: str, size: int, data: st.DataObject
) -> None:
    draw = data.draw
    ops = draw(st.frozensets(st.sampled_from(Op)))
    prefixes, topics = draw(st.lists(PREFIXES, max_size=3)), draw(st.lists(PATTERNS, max_size=3))
    limit = draw(SIZES)
    before = grant.allows(op, subject, size)
    fits = [
        (grant.only_ops(ops), op in ops),
        (grant.only_objects(prefixes), op in OBJECT_OPS and subject.startswith(tuple(prefixes))),
        (grant.only_topics(topics), op in TOPIC_OPS and any(covers(t, subject) for t in topics)),
        (grant.only_size(limit), size <= limit),
    ]
    for narrow, asked in fits:
        assert narrow.allows(op, subject, size) == (before and asked)


def test_limits_only_get_tighter() -> None:
    grant = Grant().only_before(10).only_before(20).only_rate("m", 5).only_rate("n", 9)
    assert (grant.expires, grant.max_rps) == (10, 5)
    assert grant.only_size(7).only_size(8).max_bytes == 7


def test_a_narrowed_token_draws_on_the_same_quota() -> None:
    one, two = (Grant(revocation_ids=("ab" * 64, narrowed * 64)) for narrowed in ("cd", "ef"))
    assert one.account == two.account == "cap:" + "ab" * 16
    assert Grant().account == ""


@given(st.binary(max_size=200))
def test_a_section_is_split_as_it_was_joined(token: bytes) -> None:
    proof = b"p" * 64
    assert split_section(join_section(proof, token)) == (proof, token)
    if not token.startswith(b"h1"):
        assert split_section(join_section(b"", token)) == (b"", token)


def test_printing_a_capability_gives_its_fingerprint() -> None:
    planted = Capability(b"planted-secret-token")
    assert "planted" not in f"{planted!r} {planted!s} {[planted]}"
    assert repr(planted) == f"<capability {planted.fingerprint}>"
    assert len(planted.fingerprint) == 12


@given(st.binary(max_size=200))
def test_a_token_as_text_is_read_back_with_and_without_padding(token: bytes) -> None:
    text = to_text(token)
    assert from_text(text) == from_text(text + "=") == token


@given(st.text(max_size=50))
def test_any_text_is_a_token_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        from_text(text)
