"""The store: only verified bytes are served, budgets hold, what goes is wiped."""

import errno
import os
from collections.abc import Iterator
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from overlay_edge.config import StoreConfig
from overlay_edge.errors import LocalMisuse, ObjectGone, PolicyError, Refused
from overlay_edge.store.cache import MAX_RETRY_MS, ObjectStore
from overlay_edge.store.medium import Blob, Medium, MemfdMedium
from overlay_edge.store.wiping import MIN_RETRY_MS, Cause, PurgeReport
from tests.support.witness import Witness, watched

MINE, YOURS = ("a" * 128,), ("b" * 128, "c" * 128)
SMALL = StoreConfig(object_max_bytes=40, total_max_bytes=100, max_objects=5, ttl_s=10.0)


def address(data: bytes) -> str:
    return "b3:" + blake3(data).hexdigest()


def put(store: ObjectStore, data: bytes, *, now: float = 0.0, **labels: Any) -> str:
    upload = store.begin(len(data), None, **labels, now=now)
    upload.write(data)
    return upload.commit(now=now)


def refusal(caught: pytest.ExceptionInfo[Refused]) -> tuple[int, str]:
    return caught.value.code, caught.value.token


@pytest.fixture
def store(medium: Medium, witness: Witness) -> Iterator[ObjectStore]:
    made = ObjectStore(SMALL, medium)
    yield made
    made.purge()
    assert (made.used_bytes, made.reserved_bytes, made.object_count) == (0, 0, 0)


def test_what_was_put_is_got_by_its_address(store: ObjectStore) -> None:
    addr = put(store, b"hello")
    assert addr == address(b"hello")
    found = store.get(addr, now=1)
    assert found is not None
    assert (found.addr, found.size) == (addr, 5)
    assert [found.read(0, 5), found.read(1, 3), found.read(4, 9), found.read(5, 1)] == [
        b"hello", b"ell", b"o", b"",
    ]  # fmt: skip
    assert (store.used_bytes, store.reserved_bytes, store.object_count) == (5, 0, 1)


def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    found = store.get(put(store, b""), now=0)
    assert found is not None
    assert found.read(0, 9) == b""


def test_an_unknown_address_is_none(store: ObjectStore) -> None:
    assert store.get(address(b"?"), now=0) is None


def test_an_upload_reserves_its_size_before_its_first_byte(store: ObjectStore) -> None:
    upload = store.begin(40, None, now=0)
    assert (store.used_bytes, store.reserved_bytes, store.upload_count) == (0, 40, 1)
    upload.abort()
    assert (store.reserved_bytes, store.upload_count) == (0, 0)


def test_bytes_of_an_unfinished_upload_are_not_served(store: ObjectStore) -> None:
    upload = store.begin(5, address(b"hello"), now=0)
    upload.write(b"hello")
    assert store.get(address(b"hello"), now=0) is None
    upload.abort()


def test_too_large_an_object_is_refused_by_its_announcement(store: ObjectStore) -> None:
    with pytest.raises(Refused, match="object of 41 bytes, limit 40") as caught:
        store.begin(41, None, now=0)
    assert refusal(caught) == (413, "too_large")


def test_a_full_store_refuses_for_now_and_says_until_when(store: ObjectStore) -> None:
    put(store, b"a" * 40, now=0)
    store.begin(40, None, now=0)
    with pytest.raises(Refused) as caught:
        store.begin(21, None, now=4.0)
    assert refusal(caught) == (503, "busy")
    assert caught.value.retry_after_ms == 6000
    store.begin(20, None, now=0).abort()


def test_the_number_of_objects_and_uploads_is_bounded(store: ObjectStore) -> None:
    for n in range(3):
        put(store, bytes([n]))
    for _ in range(2):
        store.begin(0, None, now=0)
    with pytest.raises(Refused, match="holds its 5 objects") as caught:
        store.begin(0, None, now=0)
    assert refusal(caught) == (503, "busy")


def test_descriptors_bound_the_number_of_objects_too() -> None:
    store = ObjectStore(SMALL, MemfdMedium(max_blobs=1))
    put(store, b"a")
    with pytest.raises(Refused, match="holds its 1 objects"):
        store.begin(1, None, now=0)
    store.close()


def test_a_wait_is_neither_a_hammer_nor_for_ever(medium: Medium) -> None:
    config = StoreConfig(object_max_bytes=1, total_max_bytes=1, max_objects=5, ttl_s=1e6)
    store = ObjectStore(config, medium)
    upload = store.begin(1, None, now=0)
    with pytest.raises(Refused) as caught:
        store.begin(1, None, now=0)
    assert caught.value.retry_after_ms == MIN_RETRY_MS
    upload.write(b"x")
    upload.commit(now=0)
    with pytest.raises(Refused) as caught:
        store.begin(1, None, now=0)
    assert caught.value.retry_after_ms == MAX_RETRY_MS
    store.purge()


def test_more_bytes_than_announced_end_the_upload(store: ObjectStore, witness: Witness) -> None:
    upload = store.begin(4, None, now=0)
    upload.write(b"abc")
    with pytest.raises(Refused) as caught:
        upload.write(b"de")
    assert refusal(caught) == (400, "bad_size")
    assert witness.lengths == [3]
    assert store.reserved_bytes == 0


def test_fewer_bytes_than_announced_leave_nothing(store: ObjectStore, witness: Witness) -> None:
    upload = store.begin(4, None, now=0)
    upload.write(b"abc")
    with pytest.raises(Refused, match="3 bytes came, 4 announced") as caught:
        upload.commit(now=0)
    assert refusal(caught) == (400, "bad_size")
    assert witness.lengths == [3]
    assert (store.object_count, store.reserved_bytes) == (0, 0)


def test_a_wrong_digest_leaves_nothing_under_either_address(
    store: ObjectStore, witness: Witness
) -> None:
    upload = store.begin(3, address(b"abd"), now=0)
    upload.write(b"abc")
    with pytest.raises(Refused) as caught:
        upload.commit(now=0)
    assert refusal(caught) == (400, "bad_digest")
    assert store.get(address(b"abc"), now=0) is None
    assert store.get(address(b"abd"), now=0) is None
    assert witness.lengths == [3]
    assert store.reserved_bytes == 0


def test_aborting_wipes_and_is_harmless_twice(store: ObjectStore, witness: Witness) -> None:
    upload = store.begin(4, None, now=0)
    upload.write(b"abc")
    upload.abort()
    upload.abort()
    assert witness.lengths == [3]


def test_aborting_after_commit_keeps_the_object(store: ObjectStore) -> None:
    upload = store.begin(1, None, now=0)
    upload.write(b"x")
    addr = upload.commit(now=0)
    upload.abort()
    assert store.get(addr, now=0) is not None


def test_an_upload_that_ended_takes_no_more(store: ObjectStore) -> None:
    upload = store.begin(1, None, now=0)
    upload.abort()
    with pytest.raises(LocalMisuse, match="has ended"):
        upload.write(b"x")
    with pytest.raises(LocalMisuse, match="has ended"):
        upload.commit(now=0)


def test_an_object_put_again_is_kept_once_and_its_time_starts_again(
    store: ObjectStore, witness: Witness
) -> None:
    addr = put(store, b"hello", now=0)
    first = store.get(addr, now=0)
    other = put(store, b"other", now=1)
    assert put(store, b"hello", now=6) == addr
    assert witness.lengths == [5]
    assert (store.object_count, store.used_bytes) == (2, 10)
    assert store.get(addr, now=15.9) is first
    assert store.next_expiry() == 11
    store.expire(now=11)
    assert store.get(other, now=11) is None
    assert store.next_expiry() == 16


def test_an_object_is_gone_when_its_time_is_over(store: ObjectStore, witness: Witness) -> None:
    addr = put(store, b"hello", now=0)
    assert store.get(addr, now=9.99) is not None
    assert store.get(addr, now=10) is None
    assert store.expire(now=9.99) == PurgeReport()
    assert store.expire(now=10) == PurgeReport(objects=1, bytes=5)
    assert witness.lengths == [5]
    assert store.next_expiry() is None


def test_expiry_can_be_taken_in_gulps(store: ObjectStore) -> None:
    for n in range(4):
        put(store, bytes([n]) * 10, now=n)
    assert store.expire(now=99, budget_bytes=11) == PurgeReport(objects=2, bytes=20)
    assert store.next_expiry() == 12
    assert store.expire(now=99, budget_bytes=99) == PurgeReport(objects=2, bytes=20)


def test_a_reader_of_a_purged_object_learns_that_it_is_gone(store: ObjectStore) -> None:
    addr = put(store, b"hello")
    found = store.get(addr, now=0)
    assert found is not None
    assert found.read(0, 2) == b"he"
    assert store.purge(addr) == PurgeReport(objects=1, bytes=5)
    with pytest.raises(ObjectGone, match="purged while it was read"):
        found.read(2, 2)
    assert store.purge(addr) == PurgeReport()


def test_a_purge_of_everything_takes_uploads_in_progress_too(
    store: ObjectStore, witness: Witness
) -> None:
    put(store, b"hello")
    upload = store.begin(9, None, now=0)
    upload.write(b"abc")
    assert store.purge() == PurgeReport(objects=1, uploads=1, bytes=8)
    assert sorted(witness.lengths) == [3, 5]
    assert (store.used_bytes, store.reserved_bytes) == (0, 0)
    with pytest.raises(Refused) as caught:
        upload.write(b"def")
    assert refusal(caught) == (503, "busy")
    with pytest.raises(Refused) as caught:
        upload.commit(now=0)
    assert refusal(caught) == (503, "busy")
    upload.abort()


def test_a_topic_is_wiped_and_what_is_being_stored_under_it(
    store: ObjectStore, witness: Witness
) -> None:
    heat = put(store, b"heat", topic="site/heat")
    rain = put(store, b"rain", topic="site/rain")
    upload = store.begin(9, None, topic="site/heat", now=0)
    upload.write(b"warm")
    assert store.purge_topic("site/heat") == PurgeReport(objects=1, uploads=1, bytes=8)
    assert store.get(heat, now=0) is None
    assert store.get(rain, now=0) is not None
    assert witness.lengths == [4, 4]
    with pytest.raises(Refused) as caught:
        upload.write(b"er")
    assert refusal(caught) == (503, "busy")
    assert store.purge_topic("site/heat") == PurgeReport()


def test_revoking_wipes_what_nobody_else_stored(store: ObjectStore, witness: Witness) -> None:
    mine = put(store, b"mine", depositor=MINE)
    both = put(store, b"both", depositor=MINE)
    assert put(store, b"both", depositor=YOURS) == both
    open_to_all = put(store, b"free")
    upload = store.begin(9, None, depositor=MINE, now=0)
    upload.write(b"begun")
    witness.lengths.clear()
    assert store.purge_revoked(MINE) == PurgeReport(objects=1, uploads=1, bytes=9)
    assert sorted(witness.lengths) == [4, 5]
    assert store.get(mine, now=0) is None
    assert store.get(both, now=0) is not None
    with pytest.raises(Refused) as caught:
        upload.write(b"more")
    assert refusal(caught) == (403, "denied")
    assert store.purge_revoked([*YOURS, "f" * 128]).objects == 1
    assert store.get(open_to_all, now=0) is not None


def test_what_is_put_again_by_another_keeps_both_its_topics(store: ObjectStore) -> None:
    put(store, b"same", topic="one")
    put(store, b"same", topic="two")
    assert store.purge_topic("one").objects == 1
    assert store.purge_topic("two").objects == 0


def test_one_object_that_cannot_be_wiped_does_not_save_the_others(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, witness: Witness
) -> None:
    for data in (b"one", b"two", b"three"):
        put(store, data)
    overwrite, calls = Blob.overwrite, 0

    def broken(blob: Blob) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError(errno.EIO, "broken")
        overwrite(blob)

    monkeypatch.setattr(Blob, "overwrite", broken)
    with pytest.raises(PolicyError, match="could not be wiped"):
        store.purge()
    assert witness.lengths == [3, 5]
    assert store.object_count == 0


def test_each_wiped_object_is_counted_by_its_cause(store: ObjectStore) -> None:
    assert store.purged == dict.fromkeys(map(str, Cause), 0)
    put(store, b"late", now=-20)
    store.expire(now=0)
    put(store, b"a", topic="t")
    store.purge_topic("t")
    put(store, b"b", depositor=MINE)
    store.purge_revoked(MINE)
    put(store, b"c")
    store.purge(cause=Cause.PANIC)
    wanted = {"expired": 1, "purge": 1, "revoke": 1, "panic": 1, "drain": 0, "medium": 0}
    assert store.purged == wanted


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EMFILE, errno.ENOMEM])
def test_a_machine_that_gives_no_more_files_is_busy(
    store: ObjectStore, medium: Medium, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def failing() -> Blob:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(medium, "create", failing)
    with pytest.raises(Refused) as caught:
        store.begin(1, None, now=0)
    assert refusal(caught) == (503, "busy")
    assert store.reserved_bytes == 0


def test_a_tmpfs_that_is_full_ends_the_upload_and_wipes_it(
    store: ObjectStore, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = store.begin(9, None, now=0)
    upload.write(b"abc")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Blob, "append", full)
    with pytest.raises(Refused) as caught:
        upload.write(b"def")
    assert refusal(caught) == (503, "busy")
    assert witness.lengths == [3]
    assert store.reserved_bytes == 0


def test_reading_before_the_start_is_our_own_mistake(store: ObjectStore) -> None:
    found = store.get(put(store, b"x"), now=0)
    assert found is not None
    with pytest.raises(LocalMisuse):
        found.read(-1, 1)
    with pytest.raises(LocalMisuse):
        store.begin(-1, None, now=0)


class AnyOrder(RuleBasedStateMachine):
    """Calls in any order, beside a model that knows what may be there."""

    def __init__(self) -> None:
        super().__init__()
        self.watch = watched()
        self.witness = self.watch.__enter__()
        self.store = ObjectStore(SMALL, MemfdMedium())
        self.now = 0.0
        self.kept: dict[str, tuple[bytes, float]] = {}
        self.whose: dict[str, tuple[set[str], set[str]]] = {}  # depositors, topics
        self.open: list[tuple[Any, bytearray, str, str]] = []
        self.readers: list[tuple[Any, bytes]] = []

    def teardown(self) -> None:
        self.store.close()
        assert self.store.used_bytes == self.store.reserved_bytes == 0
        for reader, data in self.readers:
            with pytest.raises(ObjectGone):
                reader.read(0, len(data))
        self.watch.__exit__(None, None, None)

    @rule(
        size=st.integers(0, 45),
        known=st.sampled_from([b"", b"a", b"ab", b"bb", None]),
        who=st.sampled_from(["", "one", "two"]),
        topic=st.sampled_from(["", "heat", "rain"]),
    )
    def begin(self, size: int, known: bytes | None, who: str, topic: str) -> None:
        size = size if known is None else len(known)
        addr = None if known is None else address(known)
        held = self.store.used_bytes + self.store.reserved_bytes
        count = self.store.object_count + self.store.upload_count
        try:
            upload = self.store.begin(
                size, addr, depositor=[who] if who else [], topic=topic or None, now=self.now
            )
        except Refused as refused:
            if refused.code == 413:
                assert size > 40
            else:
                assert held + size > 100 or count >= 5
        else:
            self.open.append((upload, bytearray(), who, topic))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), chunk=st.text("ab", max_size=30).map(str.encode))
    def write(self, data: st.DataObject, chunk: bytes) -> None:
        entry = data.draw(st.sampled_from(self.open))
        upload, came, _, _ = entry
        try:
            upload.write(chunk)
        except Refused:
            self.open.remove(entry)
        else:
            came += chunk

    @precondition(lambda self: self.open)
    @rule(data=st.data(), fill=st.booleans())
    def commit(self, data: st.DataObject, fill: bool) -> None:
        entry = data.draw(st.sampled_from(self.open))
        self.open.remove(entry)
        upload, came, who, topic = entry
        if fill:
            came += (rest := b"a" * (upload.size - len(came)))
            upload.write(rest)
        try:
            addr = upload.commit(now=self.now)
        except Refused as refused:
            wrong_size = len(came) != upload.size
            assert refused.token == ("bad_size" if wrong_size else "bad_digest")
        else:
            assert addr == address(bytes(came))
            if addr not in self.kept:
                self.whose[addr] = (set(), set())
            self.kept[addr] = (bytes(came), self.now + SMALL.ttl_s)
            self.whose[addr][0].add(who)
            self.whose[addr][1].add(topic)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.open))
        self.open.remove(entry)
        entry[0].abort()

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def get(self, data: st.DataObject) -> None:
        addr = data.draw(st.sampled_from(sorted(self.kept)))
        content, expires_at = self.kept[addr]
        found = self.store.get(addr, now=self.now)
        assert (found is not None) == (self.now < expires_at)
        if found is not None:
            assert found.read(0, 99) == content
            self.readers.append((found, content))

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0, 11.0]), gulp=st.sampled_from([None, 1]))
    def expire(self, seconds: float, gulp: int | None) -> None:
        self.now += seconds
        self.store.expire(now=self.now, budget_bytes=gulp)
        if gulp is None:
            self.kept = {a: kept for a, kept in self.kept.items() if self.now < kept[1]}
        else:
            self.kept = {a: kept for a, kept in self.kept.items() if a in self.store._objects}

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def purge_one(self, data: st.DataObject) -> None:
        addr = data.draw(st.sampled_from(sorted(self.kept)))
        self.store.purge(addr)
        del self.kept[addr]

    @rule()
    def purge_all(self) -> None:
        self.store.purge()
        self.kept.clear()
        self.open.clear()

    @rule(topic=st.sampled_from(["heat", "rain", "snow"]))
    def purge_topic(self, topic: str) -> None:
        doomed = [addr for addr in self.kept if topic in self.whose[addr][1]]
        report = self.store.purge_topic(topic)
        assert report.objects == len(doomed)
        for addr in doomed:
            del self.kept[addr]
        self.open = [entry for entry in self.open if entry[3] != topic]

    @rule(who=st.sampled_from(["one", "two", "nobody"]))
    def revoke(self, who: str) -> None:
        doomed = [addr for addr in self.kept if self.whose[addr][0] == {who}]
        report = self.store.purge_revoked([who])
        assert report.objects == len(doomed)
        for addr in doomed:
            del self.kept[addr]
        for addr in self.kept:
            self.whose[addr][0].discard(who)
        self.open = [entry for entry in self.open if entry[2] != who]

    @invariant()
    def budgets_hold_and_the_books_are_right(self) -> None:
        assert self.store.used_bytes + self.store.reserved_bytes <= SMALL.total_max_bytes
        assert self.store.object_count + self.store.upload_count <= SMALL.max_objects
        assert self.store.used_bytes == sum(len(content) for content, _ in self.kept.values())
        assert self.store.reserved_bytes == sum(upload.size for upload, *_ in self.open)
        dues = [due for _, due in self.kept.values()]
        assert self.store.next_expiry() == (min(dues) if dues else None)


AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestCallsInAnyOrder = AnyOrder.TestCase
