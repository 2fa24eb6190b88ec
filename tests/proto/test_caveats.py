"""Sentences of a token: compiled when known, refused when not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.proto.capability import MAX_TERMS, Grant, Op
from overlay_edge.proto.caveats import (
    MAX_BLOCK_CHARS,
    MAX_BLOCKS,
    NotUnderstood,
    compile_blocks,
    write_mint,
    write_narrowing,
)
from tests.support.mint import EVERYTHING, NOON, Site

IDS = tuple(f"{number:02x}" * 64 for number in range(MAX_BLOCKS + 1))
ALL = write_mint(EVERYTHING, issued=NOON)


def compiled(*blocks: str) -> Grant:
    return compile_blocks(blocks, IDS[: len(blocks)]).grant


def test_what_is_written_compiles_to_the_same_grant() -> None:
    grant = Grant(
        rights={Op.GET: ("b3:aa", "b3:bb"), Op.PUBLISH: ("",)},
        topics=("site/*/heat", "x/**"),
        max_bytes=100,
        rates=((IDS[0], 50),),
        expires=NOON + 60,
        holder=b"h" * 32,
        revocation_ids=IDS[:1],
    )
    mint = compile_blocks([write_mint(grant, issued=NOON)], IDS[:1])
    assert mint.grant == grant
    assert mint.issued == NOON


def test_the_library_prints_the_same_sentences_as_are_written_here() -> None:
    from biscuit_auth import Biscuit

    site, narrowing = Site(), write_narrowing(
        ops=["get", "put"], prefixes=["b3:a", "b3:b"], topics=["a/*", "b/**"], max_bytes=1,
        rate=2, expires=NOON,
    )  # fmt: skip
    token = site.narrow(site.mint(), narrowing)
    biscuit = Biscuit.from_bytes(token, site.pair.public_key)
    assert biscuit.block_source(0).strip() == ALL
    assert biscuit.block_source(1).strip() == narrowing


def test_every_check_narrows() -> None:
    grant = compiled(ALL, write_narrowing(ops=["get", "head"], prefixes=["b3:4"]))
    assert grant.rights == {Op.GET: ("b3:4",), Op.HEAD: ("b3:4",)}
    grant = compiled(ALL, write_narrowing(topics=["a/*"], max_bytes=9, rate=3, expires=NOON))
    assert grant.rights == {Op.PUBLISH: ("",), Op.SUBSCRIBE: ("",)}
    assert (grant.topics, grant.max_bytes, grant.max_rps, grant.expires) == (("a/*",), 9, 3, NOON)


def test_a_rate_is_counted_for_the_block_that_set_it() -> None:
    grant = compiled(ALL + "\nrate(10);", "check if rate($n), $n <= 4;")
    assert grant.rates == ((IDS[0], 10), (IDS[1], 4))


def test_a_check_in_the_first_block_counts_too() -> None:
    assert compiled('right("get", "");\ncheck if operation("put");').rights == {}


@pytest.mark.parametrize(
    "line",
    [
        'right("get", "");',
        "check if true;",
        'check all operation("get");',
        'reject if operation("get");',
        'check if operation("get") or time($t), $t < 2026-12-01T00:00:00Z;',
        'check if operation("fly");',
        'check if operation("get"), true;',
        'check if operation("get") trusting previous;',
        "check if time($t), $t > 2026-12-01T00:00:00Z;",
        "check if time($t), $u < 2026-12-01T00:00:00Z;",
        "check if time($t), $t < 2026-13-01T00:00:00Z;",
        "check if time($t), $t < <invalid date>;",
        "check if size($n), $n <= -1;",
        "check if size($n), $n <= 9999999999999999999;",
        "check if size($n), $n <= \u0663;",
        'check if object($a), $a.ends_with("x");',
        'check if topic_in("a//b");',
        'check if topic_in("a b");',
        'right("get", "") <- true;',
        'check if operation("get")',
        "nonsense",
    ],
)
def test_what_is_not_a_sentence_is_refused(line: str) -> None:
    with pytest.raises(NotUnderstood):
        compiled(ALL, line)


@pytest.mark.parametrize(
    "line",
    [
        'right("fly", "");',
        'right("get");',
        'right("get", "") <- true;',
        "max_bytes(-1);",
        'holder("ed25519:00");',
        'holder("secp256r1/00");',
        f'holder("ed25519:{"aa" * 32}");\nholder("ed25519:{"bb" * 32}");',
        'user("x");',
        "issued(2026-02-30T00:00:00Z);",
    ],
)
def test_a_fact_that_is_not_known_is_refused(line: str) -> None:
    with pytest.raises(NotUnderstood):
        compiled(line)


def test_a_text_can_hold_no_second_sentence() -> None:
    # The library prints strings as they are, so a quote or a line end inside one shows here.
    with pytest.raises(NotUnderstood):
        compiled('right("get", "b3:aa");\nright("put", "");"); topic("x");')


def test_blocks_sentences_and_alternatives_are_bounded() -> None:
    with pytest.raises(NotUnderstood, match="17 blocks, limit 16"):
        compiled(ALL, *["check if rate($n), $n <= 1;"] * MAX_BLOCKS)
    with pytest.raises(NotUnderstood, match="characters, limit"):
        compiled(ALL, " " * (MAX_BLOCK_CHARS + 1))
    with pytest.raises(NotUnderstood, match="alternatives"):
        compiled(ALL, write_narrowing(ops=["get"] * (MAX_TERMS + 1)))
    with pytest.raises(NotUnderstood, match="prefixes or topics"):
        compiled("\n".join(f'topic("{number}");' for number in range(MAX_TERMS + 1)))
    wide = [f"{number}/*" for number in range(60)]
    deep = [f"*/{number}" for number in range(60)]
    with pytest.raises(NotUnderstood, match="prefixes or topics"):
        compiled(ALL, write_narrowing(topics=wide), write_narrowing(topics=deep))


@given(st.lists(st.text(max_size=80), min_size=1, max_size=4))
def test_noise_is_refused_or_grants_nothing(blocks: list[str]) -> None:
    try:
        grant = compiled(*blocks)
    except NotUnderstood:
        return
    assert not grant.ops


WORDS = st.sampled_from(
    ["check if ", 'operation("get")', " or ", ";", "\n", 'topic_in("a/*")', "size($n), $n <= 3",
     'object($a), $a.starts_with("b3:")', 'right("put", "")', "time($t), $t < 2026-12-01T00:00:00Z"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=12).map("".join))
def test_no_text_of_known_words_widens(text: str) -> None:
    before = compiled(ALL)
    try:
        after = compiled(ALL, text)
    except NotUnderstood:
        return
    for op in Op:
        for subject in ("b3:00", "a/b", ""):
            assert before.allows(op, subject) >= after.allows(op, subject)
