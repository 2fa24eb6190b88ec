"""Who is believed: signatures, channels, time, rotation and revocation; noise, and no leaks."""

from dataclasses import replace

import pytest
from biscuit_auth import Biscuit, BlockBuilder, KeyPair
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay_edge.config import AuthConfig, AuthMode
from overlay_edge.errors import Refused
from overlay_edge.proto import authority as room
from overlay_edge.proto.authority import MAX_PRESENTED, Authority, Presented, Reason
from overlay_edge.proto.capability import (
    MAX_TOKEN_BYTES,
    Grant,
    Op,
    carries,
    join_section,
    to_text,
)
from overlay_edge.proto.caveats import write_mint, write_narrowing
from overlay_edge.proto.clock import ClockFloor
from tests.support.mint import CHANNEL, EVERYTHING, NOON, OTHER_CHANNEL, Holder, Site

SITE, STRANGER = Site(), Site()
TOKEN = SITE.mint()


class Gate:
    """An authority, one session, and what was told about refusals."""

    def __init__(self, mode: AuthMode = AuthMode.WRITE, *, built: float = NOON - 86_400) -> None:
        self.told: list[tuple[Reason, str]] = []
        self.authority = Authority(
            SITE.config(mode), ClockFloor(built), lambda *what: self.told.append(what)
        )
        self.session = Presented(self.authority, CHANNEL)

    def refused(
        self, section: bytes, op: Op | None = Op.PUT, subject: str = "", *, now: float = NOON
    ) -> Refused:
        before = self.authority.failures.total()
        with pytest.raises(Refused) as caught:
            self.session.authorize(section, op, subject, now=now)
        assert self.authority.failures.total() == before + 1 == len(self.told)
        return caught.value

    def takes(
        self, section: bytes, op: Op | None = Op.PUT, subject: str = "", *, now: float = NOON
    ) -> Grant | None:
        return self.session.authorize(section, op, subject, now=now)


@pytest.fixture
def gate() -> Gate:
    return Gate()


# -- what needs one -----------------------------------------------------------------------


def test_where_nothing_is_needed_nothing_is_looked_at() -> None:
    gate = Gate(AuthMode.NONE)
    assert gate.takes(b"") is gate.takes(b"noise") is None


def test_to_change_something_needs_one_and_to_read_does_not(gate: Gate) -> None:
    for op in (Op.GET, Op.HEAD, Op.SUBSCRIBE, None):
        assert gate.takes(b"", op) is None
    for op in (Op.PUT, Op.PUBLISH, Op.CONTROL):
        refusal = gate.refused(b"", op)
        assert (refusal.code, refusal.token) == (401, "unauth")


def test_everything_can_need_one() -> None:
    gate = Gate(AuthMode.ALL)
    for op in (*Op, None):
        assert gate.refused(b"", op).code == 401
    assert gate.takes(TOKEN, None) is not None
    assert gate.takes(TOKEN, Op.GET, "b3:00") is not None
    assert gate.refused(SITE.mint(Grant(rights={Op.PUT: ("",)})), Op.GET, "b3:00").code == 403


def test_without_a_key_nobody_can_write() -> None:
    session = Presented(Authority(AuthConfig(AuthMode.WRITE), ClockFloor()), CHANNEL)
    with pytest.raises(Refused):
        session.authorize(TOKEN, Op.PUT, now=NOON)


def test_what_is_presented_is_checked_also_where_none_is_needed(gate: Gate) -> None:
    assert gate.refused(STRANGER.mint(), Op.GET).code == 401


# -- whose it is --------------------------------------------------------------------------


def test_a_token_of_the_site_is_a_grant(gate: Gate) -> None:
    grant = gate.takes(TOKEN)
    assert grant is not None
    assert grant.ops == frozenset(Op)
    assert (grant.key_id, grant.topics) == (SITE.key_id, ("**",))
    assert len(grant.revocation_ids) == 1


def test_a_stranger_signs_nothing(gate: Gate) -> None:
    assert gate.refused(STRANGER.mint()).code == 401
    named = STRANGER.sign(write_mint(EVERYTHING, issued=NOON), number=SITE.key_id)
    assert gate.refused(named).code == 401


def test_a_token_must_name_its_key(gate: Gate) -> None:
    assert gate.refused(SITE.sign(write_mint(EVERYTHING, issued=NOON), number=None)).code == 401


def test_a_narrowed_token_covers_less(gate: Gate) -> None:
    narrow = SITE.narrow(TOKEN, write_narrowing(ops=["put"], prefixes=["b3:4"]))
    assert gate.takes(narrow, Op.PUT, "b3:44") is not None
    refusal = gate.refused(narrow, Op.PUT, "b3:55")
    assert (refusal.code, refusal.token) == (403, "denied")
    assert gate.refused(narrow, Op.CONTROL).code == 403
    assert gate.told[-1][0] is Reason.DENIED


def test_a_block_that_gives_rights_or_speaks_unknown_words_is_refused(gate: Gate) -> None:
    for text in ('right("control", "")', "check if moon(true)", "check if [1].any($x -> $x == 1)"):
        assert gate.refused(SITE.narrow(TOKEN, text)).code == 403
        assert gate.told[-1][0] is Reason.INVALID_CAVEAT


def test_a_block_of_a_third_party_is_refused(gate: Gate) -> None:
    biscuit, other = Biscuit.from_bytes(TOKEN, SITE.pair.public_key), KeyPair()
    block = biscuit.third_party_request().create_block(
        other.private_key, BlockBuilder('check if operation("put")')
    )
    token = bytes(biscuit.append_third_party(other.public_key, block).to_bytes())
    assert "third party" in str(gate.refused(token))


def test_size_is_limited(gate: Gate) -> None:
    small = SITE.mint(Grant(rights={Op.PUT: ("",)}, max_bytes=10))
    gate.session.authorize(small, Op.PUT, size=10, now=NOON)
    with pytest.raises(Refused):
        gate.session.authorize(small, Op.PUT, size=11, now=NOON)


# -- this channel -------------------------------------------------------------------------


def test_a_token_that_names_a_holder_works_for_that_holder_on_this_channel_only(
    gate: Gate,
) -> None:
    holder, thief = Holder(), Holder()
    token = SITE.mint(replace(EVERYTHING, holder=holder.public))
    assert gate.takes(holder.section(token)) is not None
    for section in (token, thief.section(token), holder.section(token, OTHER_CHANNEL)):
        assert gate.refused(section).code == 401
    # What a thief tried does not lock the holder out.
    assert Presented(gate.authority, CHANNEL).authorize(holder.section(token), Op.PUT, now=NOON)


def test_without_a_channel_only_a_bearers_token_is_taken(gate: Gate) -> None:
    holder = Holder()
    token = SITE.mint(replace(EVERYTHING, holder=holder.public))
    assert gate.authority.verify(TOKEN, channel=None, now=NOON)
    with pytest.raises(Refused):
        gate.authority.verify(holder.section(token), channel=None, now=NOON)


def test_a_proof_nobody_asked_for_is_refused(gate: Gate) -> None:
    assert gate.refused(Holder().section(TOKEN)).code == 401


def test_a_bearer_controls_with_a_token_for_it_whatever_the_mode() -> None:
    gate = Gate(AuthMode.NONE)
    bearer = gate.authority.bearer
    assert bearer(to_text(SITE.mint(Grant(rights={Op.CONTROL: ("",)}))), Op.CONTROL, now=NOON)
    put = SITE.mint(Grant(rights={Op.PUT: ("",)}))
    held = SITE.mint(replace(EVERYTHING, holder=Holder().public))
    ended = SITE.mint(replace(EVERYTHING, expires=NOON - 999))
    for text, code in (
        (to_text(put), 403), (to_text(ended), 403), (to_text(held), 401), ("", 401),
        ("n\u00f6ise", 401), ("A" * 9000, 401), (to_text(STRANGER.mint()), 401),
    ):  # fmt: skip
        with pytest.raises(Refused) as caught:
            bearer(text, Op.CONTROL, now=NOON)
        assert caught.value.code == code


# -- time ---------------------------------------------------------------------------------


def test_a_token_ends_when_it_says_plus_the_leeway(gate: Gate) -> None:
    token = SITE.mint(replace(EVERYTHING, expires=NOON + 60))
    assert gate.takes(token, now=NOON + 179) is not None
    assert gate.refused(token, now=NOON + 180).code == 403
    assert gate.told == [(Reason.EXPIRED, gate.told[0][1])]


def test_in_1970_an_expired_token_stays_expired_and_a_good_one_good(gate: Gate) -> None:
    expired = SITE.mint(replace(EVERYTHING, expires=NOON - 90_000), issued=NOON - 90_001)
    assert gate.refused(expired, now=60.0).code == 403
    assert gate.takes(TOKEN, now=60.0) is not None


def test_a_verified_token_raises_the_floor_and_an_unverified_one_does_not(gate: Gate) -> None:
    gate.refused(STRANGER.mint(issued=NOON + 1e6))
    assert gate.authority.clock.floor == NOON - 86_400
    gate.takes(TOKEN)
    assert gate.authority.clock.floor == NOON
    assert gate.authority.clock.judge(60.0).is_trusted is False


def test_a_clock_that_was_ahead_leaves_no_token_refused_for_good(gate: Gate) -> None:
    gate.authority.rotate(STRANGER.public, 100, now=NOON)
    gate.refused(TOKEN, now=NOON + 1000)
    assert gate.takes(TOKEN, now=NOON + 10) is not None


# -- rotation and revocation --------------------------------------------------------------


def test_old_and_new_key_work_for_the_overlap_on_an_open_session(gate: Gate) -> None:
    assert gate.takes(TOKEN) is not None
    new = Site()
    gate.authority.rotate(new.public, 3600, now=NOON)
    fresh = new.mint()
    assert gate.takes(TOKEN, now=NOON + 3599) is not None
    assert gate.takes(fresh, now=NOON + 3599) is not None
    assert gate.takes(fresh, now=NOON + 3600) is not None
    refusal = gate.refused(TOKEN, now=NOON + 3600)  # verified before, on this very session
    assert str(refusal) == "the key of the capability is retired"


def test_what_no_key_knew_may_be_known_after_a_rotation(gate: Gate) -> None:
    fresh = STRANGER.mint()
    gate.refused(fresh)
    gate.authority.rotate(STRANGER.public, 60, now=NOON)
    assert gate.takes(fresh) is not None


def test_a_revoked_token_and_all_narrowed_from_it_end_at_once(gate: Gate) -> None:
    narrow = SITE.narrow(TOKEN, write_narrowing(ops=["put"]))
    grant, other = gate.takes(TOKEN), gate.takes(narrow)
    assert grant is not None
    assert other is not None
    gate.authority.revoke(other.revocation_ids[1].upper())
    assert gate.refused(narrow).code == 403
    assert gate.takes(TOKEN) is not None
    gate.authority.revoke(grant.revocation_ids[0])
    assert gate.refused(TOKEN).code == 403
    assert [reason for reason, _ in gate.told] == [Reason.REVOKED] * 2


def test_a_session_forgets_the_grants_of_a_revoked_capability_and_keeps_the_others(
    gate: Gate,
) -> None:
    narrow = SITE.narrow(TOKEN, write_narrowing(ops=["put"]))
    other = gate.takes(SITE.mint(replace(EVERYTHING, max_bytes=5)))
    grant = gate.takes(narrow)
    assert grant is not None
    assert other is not None
    assert gate.session.forget(grant.revocation_ids[1:])
    assert not gate.session.forget(grant.revocation_ids)
    assert gate.session.forget(other.revocation_ids)


def test_the_ids_of_a_token_are_in_its_bytes() -> None:
    narrow = SITE.narrow(TOKEN, write_narrowing(ops=["put"]))
    grant = Gate().takes(narrow)
    assert grant is not None
    assert all(
        carries(join_section(b"p" * 64, narrow), [number]) for number in grant.revocation_ids
    )
    assert not carries(TOKEN, grant.revocation_ids[1:])
    assert not carries(b"", grant.revocation_ids)


def test_revocations_are_bounded_and_none_is_forgotten() -> None:
    config = replace(SITE.config(), revoked=("ab" * 64,), max_revoked=16)
    authority = Authority(config, ClockFloor())
    for number in range(15):
        authority.revoke(f"{number:02x}" * 64)
    authority.revoke("ab" * 64)  # known
    with pytest.raises(Refused) as caught:
        authority.revoke("cd" * 64)
    assert (caught.value.code, authority.revoked) == (503, 16)


@pytest.mark.parametrize("number", ["", "ab", "zz" * 64, "ab" * 65])
def test_what_is_no_id_is_not_revoked(gate: Gate, number: str) -> None:
    with pytest.raises(Refused) as caught:
        gate.authority.revoke(number)
    assert caught.value.code == 400


def test_a_key_that_is_none_is_not_rotated_in(gate: Gate) -> None:
    with pytest.raises(Refused) as caught:
        gate.authority.rotate(b"short", 0, now=NOON)
    assert caught.value.code == 400
    assert [key.public for key in gate.authority.keys] == [SITE.public]


def test_a_reload_keeps_what_was_rotated_and_revoked_unless_the_file_changed_it() -> None:
    config = replace(SITE.config(), revoked=("ab" * 64,))
    authority = Authority(config, ClockFloor())
    authority.rotate(STRANGER.public, 3600, now=NOON)
    authority.revoke("cd" * 64)
    generation = authority.generation
    also = replace(config, mode=AuthMode.ALL, revoked=("ef" * 64, "cd" * 64))
    assert authority.reconfigure(also) == {"ef" * 64}
    assert authority.reconfigure(also) == frozenset()
    assert [key.public for key in authority.keys] == [STRANGER.public, SITE.public]
    assert (authority.mode, authority.revoked) == (AuthMode.ALL, 2)
    assert authority.generation > generation
    authority.reconfigure(replace(config, keys=(STRANGER.public.hex(),)))
    assert [key.public for key in authority.keys] == [STRANGER.public]


# -- cost ---------------------------------------------------------------------------------


def test_a_token_is_verified_once_for_a_session(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.takes(TOKEN)
    monkeypatch.setattr(room, "_open", None)
    for _ in range(3):
        gate.takes(TOKEN)


def test_a_hopeless_token_is_looked_at_once(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = TOKEN[:-1] + bytes([TOKEN[-1] ^ 1])
    first = gate.refused(broken)
    monkeypatch.setattr(room, "_open", None)
    assert str(gate.refused(broken)) == str(first)
    assert gate.told[0] == gate.told[1]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_REMEMBERED", 4)
    gate = Gate()
    for number in range(9):
        gate.refused(TOKEN[:-1] + bytes([TOKEN[-1] ^ (number + 1)]))
    assert len(gate.authority._hopeless) == 4
    for number in range(MAX_PRESENTED + 3):
        gate.takes(SITE.narrow(TOKEN, write_narrowing(rate=number)))
    assert len(gate.session._grants) == MAX_PRESENTED


def test_an_oversized_token_is_refused_before_it_is_read(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_open", None)
    assert gate.refused(b"x" * (MAX_TOKEN_BYTES + 1)).code == 401
    assert gate.refused(join_section(b"p" * 64, b"")).code == 401


# -- noise --------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_flipped_bit_never_verifies() -> None:
    token = SITE.narrow(SITE.mint(Grant(rights={Op.PUT: ("",)})), write_narrowing(rate=1))
    for index in range(8 * len(token)):
        flipped = bytearray(token)
        flipped[index // 8] ^= 1 << index % 8
        with pytest.raises(Refused):
            Gate().takes(bytes(flipped))


def test_one_flipped_bit_of_a_proof_never_verifies(gate: Gate) -> None:
    holder = Holder()
    section = holder.section(SITE.mint(replace(EVERYTHING, holder=holder.public)))
    for index in range(8 * 66):
        flipped = bytearray(section)
        flipped[index // 8] ^= 1 << index % 8
        with pytest.raises(Refused):
            gate.takes(bytes(flipped))


@given(st.binary(max_size=300), st.integers(0, len(TOKEN)), st.integers(0, 80))
@settings(max_examples=300)
def test_noise_raises_nothing_but_refused(noise: bytes, start: int, cut: int) -> None:
    gate = Gate()
    for section in (noise, TOKEN[:start] + noise + TOKEN[start + cut :], b"h1" + noise):
        if section not in (b"", TOKEN):
            with pytest.raises(Refused):
                gate.takes(section)


# A block that ends at some time: symbols, version, one check with two expressions.
BLOCK = bytes.fromhex(
    "0a0174180332280a260a02081b1207080512030883081a170a050a030883080a080a0620809cb8d8060a041a020800"
)


def test_a_block_made_by_hand_is_as_good_as_the_librarys(gate: Gate) -> None:
    assert gate.takes(SITE.forge(BLOCK, TOKEN)) is not None
    assert gate.refused(SITE.forge(BLOCK, TOKEN), now=1_796_083_200 + 121).code == 403


@given(
    st.binary(max_size=40),
    st.integers(0, len(BLOCK)),
    st.integers(0, 4),
    st.sampled_from([BLOCK, b"\x0a\x01t\x18\x03"]),
)
@settings(max_examples=300)
def test_whatever_a_holder_signs_is_refused_or_narrows(
    noise: bytes, start: int, cut: int, block: bytes
) -> None:
    limited = SITE.mint(Grant(rights={Op.PUT: ("b3:4",)}))
    content = block[:start] + noise + block[start + cut :]
    try:
        grant = Gate().takes(SITE.forge(content, limited), Op.PUT, "b3:4")
    except Refused:
        return
    assert grant is not None
    assert not grant.allows(Op.CONTROL)
    assert not grant.allows(Op.PUT, "b3:5")


def test_a_panic_of_the_library_is_a_refusal(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    panic = type("PanicException", (BaseException,), {})

    class Panicking:
        @staticmethod
        def from_bytes(*_: object) -> None:
            raise panic

    monkeypatch.setattr("biscuit_auth.Biscuit", Panicking)
    assert gate.refused(TOKEN).code == 401


def test_an_interrupt_is_no_refusal(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        @staticmethod
        def from_bytes(*_: object) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr("biscuit_auth.Biscuit", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        gate.takes(TOKEN)


def test_no_refusal_and_no_grant_repeats_a_token(gate: Gate) -> None:
    planted = b"planted-secret-in-a-token"
    grant = gate.takes(TOKEN)
    refusals = [gate.refused(planted), gate.refused(SITE.narrow(TOKEN, 'planted("secret-in-a")'))]
    text = f"{grant!r} {refusals!r} {gate.told!r} {[str(each) for each in refusals]}"
    for secret in (TOKEN, planted, b"secret-in-a"):
        assert secret.hex() not in text
        assert repr(secret)[2:-1] not in text
