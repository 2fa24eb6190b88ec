"""Caveats: the few sentences a token may hold, read as text and never run.

A token is a program of its signer's, and a block that narrows it one of anybody's who ever
held it. Running strangers' programs needs limits on time that a slow board would trip over,
so nothing is run: a block must consist of these sentences, and compiles to a table.

    the mint's block                        every block
    right("get", "b3:4f");                  check if operation("get") or operation("head");
    topic("site/*/heat");                   check if object($a), $a.starts_with("b3:4f");
    max_bytes(1048576);                     check if topic_in("site/**") or topic_in("x");
    rate(50);                               check if size($n), $n <= 1000;
    holder("ed25519:<64 hex>");             check if rate($n), $n <= 10;
    issued(2026-11-23T00:00:00Z);           check if time($t), $t < 2026-11-24T00:00:00Z;

Anything else is refused: a check that is not understood must not be passed over. The text of
a block quotes nothing inside its strings, so only letters that cannot end one are taken.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from overlay_edge.proto.capability import MAX_TERMS, Grant, Op, is_pattern

MAX_BLOCKS = 16  # guess: a mint and fifteen hands
MAX_BLOCK_CHARS = 8192  # a token of 4 KiB can repeat one long string: two of its lengths
MAX_NUMBER = (1 << 63) - 1

TEXT = r'"([A-Za-z0-9_.:/*+~=-]{0,128})"'
NUMBER = r"([0-9]{1,19})"
DATE = r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)"
VARIABLE = r"\$[a-z]{1,16}"


class NotUnderstood(ValueError):
    """A block has something in it that is none of the sentences; the text says what kind."""


@dataclass(frozen=True, slots=True)
class Mint:
    """What the first block says: the grant, and when it was made (wall seconds, or None)."""

    grant: Grant
    issued: float | None = None


def compile_blocks(blocks: Sequence[str], ids: Sequence[str]) -> Mint:
    """Compile the text of all blocks, the mint's first.

    Args:
        blocks: One text for each.
        ids: The revocation id of each; a rate is counted for the block that set it.

    Raises:
        NotUnderstood: Something in it is not a sentence, or there is too much of it.
    """
    if not 1 <= len(blocks) <= MAX_BLOCKS:
        raise NotUnderstood(f"{len(blocks)} blocks, limit {MAX_BLOCKS}")
    mint = Mint(Grant(revocation_ids=tuple(ids)))
    for index, (text, owner) in enumerate(zip(blocks, ids, strict=True)):
        if len(text) > MAX_BLOCK_CHARS:
            raise NotUnderstood(f"a block of {len(text)} characters, limit {MAX_BLOCK_CHARS}")
        lines = [line for line in text.split("\n") if line]
        checks = [line for line in lines if line.startswith("check ")]
        if index == 0:
            mint = _facts(mint, [line for line in lines if line not in checks], owner)
        elif len(checks) < len(lines):
            raise NotUnderstood("a block behind the first, expected only checks")
        grant = mint.grant
        for line in checks:
            grant = _check(grant, line, owner)
            if max([len(grant.topics), *map(len, grant.rights.values())]) > MAX_TERMS:
                raise NotUnderstood(f"over {MAX_TERMS} prefixes or topics")
        mint = replace(mint, grant=grant)
    return mint


def _facts(mint: Mint, lines: Sequence[str], owner: str) -> Mint:
    rights: dict[Op, tuple[str, ...]] = {}
    topics: list[str] = []
    grant, issued = mint.grant, mint.issued
    for line in lines:
        if match := re.fullmatch(rf"right\({TEXT}, {TEXT}\);", line):
            op = _op(match[1])
            rights[op] = (*rights.get(op, ()), match[2])
        elif match := re.fullmatch(rf"topic\({TEXT}\);", line):
            topics.append(_pattern(match[1]))
        elif match := re.fullmatch(rf"max_bytes\({NUMBER}\);", line):
            grant = grant.only_size(_number(match[1]))
        elif match := re.fullmatch(rf"rate\({NUMBER}\);", line):
            grant = grant.only_rate(owner, _number(match[1]))
        elif match := re.fullmatch(rf"issued\({DATE}\);", line):
            issued = max(issued or 0.0, _date(match[1]))
        elif (match := re.fullmatch(r'holder\("ed25519:([0-9a-f]{64})"\);', line)) and (
            grant.holder is None
        ):
            grant = replace(grant, holder=bytes.fromhex(match[1]))
        else:
            raise NotUnderstood("a fact that is none of those known here")
    if max([len(topics), *map(len, rights.values())]) > MAX_TERMS:
        raise NotUnderstood(f"over {MAX_TERMS} prefixes or topics")
    return Mint(replace(grant, rights=rights, topics=tuple(topics)), issued)


def _check(grant: Grant, line: str, owner: str) -> Grant:
    body = line.removeprefix("check if ").removesuffix(";")
    if len(body) != len(line) - len("check if ;"):
        raise NotUnderstood("a check that is not a plain one")
    if found := _each(rf"operation\({TEXT}\)", body):
        return grant.only_ops(_op(word) for word in found)
    if found := _each(rf"topic_in\({TEXT}\)", body):
        return grant.only_topics([_pattern(word) for word in found])
    if found := _each(rf"object\(({VARIABLE})\), \1\.starts_with\({TEXT}\)", body):
        return grant.only_objects(found)
    if match := re.fullmatch(rf"size\(({VARIABLE})\), \1 <= {NUMBER}", body):
        return grant.only_size(_number(match[2]))
    if match := re.fullmatch(rf"rate\(({VARIABLE})\), \1 <= {NUMBER}", body):
        return grant.only_rate(owner, _number(match[2]))
    if match := re.fullmatch(rf"time\(({VARIABLE})\), \1 <=? {DATE}", body):
        return grant.only_before(_date(match[2]))
    raise NotUnderstood("a check that is none of those known here")


def _each(sentence: str, body: str) -> list[str]:
    """The last group of each alternative, or nothing if one is of another kind."""
    parts = body.split(" or ")
    matches = [re.fullmatch(sentence, part) for part in parts]
    if len(parts) > MAX_TERMS:
        raise NotUnderstood(f"a check of {len(parts)} alternatives, limit {MAX_TERMS}")
    return [match[match.re.groups] for match in matches if match] if all(matches) else []


def _op(word: str) -> Op:
    try:
        return Op(word)
    except ValueError:
        raise NotUnderstood("an operation that is none of those known here") from None


def _pattern(text: str) -> str:
    if not is_pattern(text):
        raise NotUnderstood("a topic, expected levels, * for one, ** for the rest")
    return text


def _number(text: str) -> int:
    if int(text) > MAX_NUMBER:
        raise NotUnderstood("a number beyond 63 bits")
    return int(text)


def _date(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise NotUnderstood("a date that is none") from None


# -- writing them ----------------------------------------------------------------------------


def write_mint(grant: Grant, *, issued: float) -> str:
    """The text of a mint's block that compiles to the grant."""
    lines = [
        f'right("{op}", "{prefix}");'
        for op, prefixes in grant.rights.items()
        for prefix in prefixes
    ]
    lines += [f'topic("{pattern}");' for pattern in grant.topics]
    lines += [f"max_bytes({grant.max_bytes});"] if grant.max_bytes is not None else []
    lines += [f"rate({rate});" for _, rate in grant.rates]
    lines += [f'holder("ed25519:{grant.holder.hex()}");'] if grant.holder else []
    lines += [f"issued({write_date(issued)});"]
    lines += [write_expiry(grant.expires)] if grant.expires is not None else []
    return "\n".join(lines)


def write_narrowing(
    *,
    ops: Sequence[str] = (),
    prefixes: Sequence[str] = (),
    topics: Sequence[str] = (),
    max_bytes: int | None = None,
    rate: int | None = None,
    expires: float | None = None,
) -> str:
    """The text of a block that narrows a token; what is not given stays as it is."""
    kinds: list[tuple[Sequence[str], Callable[[str], str]]] = [
        (ops, lambda op: f'operation("{op}")'),
        (prefixes, lambda prefix: f'object($a), $a.starts_with("{prefix}")'),
        (topics, lambda topic: f'topic_in("{topic}")'),
    ]
    lines = [
        f"check if {' or '.join(sentence(word) for word in words)};"
        for words, sentence in kinds
        if words
    ]
    lines += [f"check if size($n), $n <= {max_bytes};"] if max_bytes is not None else []
    lines += [f"check if rate($n), $n <= {rate};"] if rate is not None else []
    lines += [write_expiry(expires)] if expires is not None else []
    return "\n".join(lines)


def write_expiry(time: float) -> str:
    """The check that ends a token's life."""
    return f"check if time($t), $t < {write_date(time)};"


def write_date(time: float) -> str:
    """Wall seconds as a date of the token's language, to the second."""
    return datetime.fromtimestamp(int(time), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
