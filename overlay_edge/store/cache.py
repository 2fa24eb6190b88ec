"""Objects by the digest of their bytes, in RAM, within a budget, for a time.

    begin --> Upload --write...--> commit --> StoredObject --expire, purge--> wiped
                 |                    |
                 +--abort, purge------+--wrong size or digest----------------> wiped

An upload reserves all of its declared size before its first byte, so ``used + reserved`` never
passes the total. Only ``commit`` makes an object, after the digest of every byte was compared:
what can be read was verified. Calls are synchronous and belong to one thread: no locks.

Whatever is wiped is counted by its cause, here and nowhere else. A purge looks at every object:
4096 of them take a few milliseconds, and nobody purges in a loop.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NoReturn

from blake3 import blake3

from overlay_edge.config import StoreConfig
from overlay_edge.errors import LocalMisuse, ObjectGone, PolicyError, Refused
from overlay_edge.store.labels import Labels, mark
from overlay_edge.store.medium import Blob, Medium
from overlay_edge.store.wiping import MIN_RETRY_MS, Cause, PurgeReport, Why, purged, revoked

MAX_RETRY_MS = 60_000  # a refused upload may come again no later than this


class StoredObject:
    """A verified object; stays readable until it is purged, even if it expired meanwhile."""

    __slots__ = ("_blob", "addr", "expires_at", "labels", "size")

    def __init__(self, addr: str, blob: Blob, expires_at: float, labels: Labels) -> None:
        self.addr = addr
        self.labels = labels
        self.size = blob.size
        self.expires_at = expires_at
        self._blob = blob

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from ``offset``; fewer than ``length`` only at the end.

        Raises:
            ObjectGone: It was purged.
        """
        if offset < 0 or length < 0:
            raise LocalMisuse(f"read of {length} bytes at {offset}")
        if self._blob.is_wiped:
            raise ObjectGone(f"{self.addr}: purged while it was read")
        try:
            return self._blob.read(offset, length)
        except OSError as exc:
            raise ObjectGone(f"{self.addr}: {exc.strerror}") from exc


class Upload:
    """An object on its way in. End it with ``commit`` or ``abort``, whatever happens.

    When ``write`` or ``commit`` refuses, the upload is wiped already.
    """

    __slots__ = ("_blob", "_hash", "_store", "_why_gone", "addr", "labels", "size")

    def __init__(
        self, store: "ObjectStore", blob: Blob, size: int, addr: str | None, labels: Labels
    ) -> None:
        self.addr = addr
        self.labels = labels
        self.size = size
        self._store = store
        self._blob = blob
        self._hash = blake3()
        self._why_gone: Why | None = None

    @property
    def written(self) -> int:
        """Bytes taken so far."""
        return self._blob.size

    def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            Refused: 400 ``bad_size`` beyond the declared size, 503 ``busy`` if RAM ran out.
        """
        self._must_be_open()
        if self.written + len(data) > self.size:
            self._refuse(400, "bad_size", f"more than the {self.size} bytes announced")
        try:
            self._blob.append(data)
        except OSError as exc:
            self._refuse(503, "busy", f"the store took no more: {exc.strerror}", MIN_RETRY_MS)
        self._hash.update(data)

    def commit(self, *, now: float) -> str:
        """Verify, and make the object readable.

        Returns:
            Its address. If the store has it already, its time starts again.

        Raises:
            Refused: 400 ``bad_size`` or ``bad_digest``, 503 ``busy`` after a purge, 403
                ``denied`` after its capability was revoked.
        """
        self._must_be_open()
        if self.written != self.size:
            self._refuse(400, "bad_size", f"{self.written} bytes came, {self.size} announced")
        addr = "b3:" + self._hash.hexdigest()
        if self.addr is not None and addr != self.addr:
            self._refuse(400, "bad_digest", f"the bytes are {addr}")
        self._store._keep(self, addr, now)
        return addr

    def abort(self) -> None:
        """Wipe what came; harmless when the upload has ended."""
        self._store._drop(self)

    def _must_be_open(self) -> None:
        if self._why_gone is not None:
            raise self._why_gone()
        if not self._store._has(self):
            raise LocalMisuse("the upload has ended")

    def _refuse(
        self, code: int, token: str, why: str, retry_after_ms: int | None = None
    ) -> NoReturn:
        self.abort()
        raise Refused(code, token, why, retry_after_ms=retry_after_ms)


class ObjectStore:
    """All objects and uploads.

    Args:
        config: Budgets and how long an object lives.
        medium: Where the bytes lie. Its descriptors may lower ``max_objects``.

    Attributes:
        purged: Objects wiped, by cause.
    """

    def __init__(self, config: StoreConfig, medium: Medium) -> None:
        limit = medium.max_blobs
        self.max_objects = config.max_objects if limit is None else min(config.max_objects, limit)
        self._config = config
        self._medium = medium
        self._objects: dict[str, StoredObject] = {}  # soonest expiry first: one TTL for all
        self._uploads: dict[Upload, None] = {}
        self._used = 0
        self._reserved = 0
        self.purged: Counter[str] = Counter(dict.fromkeys(map(str, Cause), 0))

    def configure(self, config: StoreConfig) -> None:
        """Take other limits and another TTL; what is here stays, and lives as long as it was told.

        Args:
            config: Its path is not looked at: a medium is for life.
        """
        most = self._medium.max_blobs
        self.max_objects = config.max_objects if most is None else min(config.max_objects, most)
        self._config = config

    @property
    def limit_bytes(self) -> int:
        """What objects and unfinished uploads may hold together."""
        return self._config.total_max_bytes

    @property
    def used_bytes(self) -> int:
        """Bytes of all objects."""
        return self._used

    @property
    def reserved_bytes(self) -> int:
        """Bytes announced by uploads in progress."""
        return self._reserved

    @property
    def object_count(self) -> int:
        """Objects, expired ones included until they are wiped."""
        return len(self._objects)

    @property
    def upload_count(self) -> int:
        """Uploads in progress."""
        return len(self._uploads)

    def get(self, addr: str, *, now: float) -> StoredObject | None:
        """The object, or None when it is unknown or its time is over."""
        found = self._objects.get(addr)
        return found if found is not None and now < found.expires_at else None

    def begin(
        self,
        size: int,
        addr: str | None,
        *,
        depositor: Collection[str] = (),
        topic: str | None = None,
        now: float,
    ) -> Upload:
        """Reserve room for an object.

        Args:
            size: Bytes that will come, exactly.
            addr: Address they must hash to, or None to learn it at the end.
            depositor: Revocation ids (hex) of the capability that brings it; empty = none did.
            topic: What it is about, or None.
            now: Monotonic seconds, as everywhere here.

        Raises:
            Refused: 413 ``too_large`` over the limit for one object, 503 ``busy`` over a total.
        """
        if size < 0:
            raise LocalMisuse(f"an upload of {size} bytes")
        if size > self._config.object_max_bytes:
            limit = self._config.object_max_bytes
            raise Refused(413, "too_large", f"object of {size} bytes, limit {limit}")
        if self._used + self._reserved + size > self._config.total_max_bytes:
            self._refuse(f"no room for {size} more bytes", now)
        if len(self._objects) + len(self._uploads) >= self.max_objects:
            self._refuse(f"the store holds its {self.max_objects} objects", now)
        try:
            blob = self._medium.create()
        except OSError as exc:
            self._refuse(f"no room for one more object: {exc.strerror}", now)
        upload = Upload(self, blob, size, addr, Labels(depositor, topic))
        self._uploads[upload] = None
        self._reserved += size
        return upload

    def expire(self, *, now: float, budget_bytes: int | None = None) -> PurgeReport:
        """Wipe the objects whose time is over.

        Args:
            now: Monotonic seconds.
            budget_bytes: Stop after the object that reaches it, so that a caller with other
                work can come back; ``next_expiry`` then is in the past.
        """
        doomed, wiped = [], 0
        for found in self._due(now):
            if budget_bytes is not None and wiped >= budget_bytes:
                break
            doomed.append(found)
            wiped += found.size
        return self._wipe_all(doomed, (), Cause.EXPIRED, purged)

    def purge(self, addr: str | None = None, *, cause: Cause = Cause.PURGE) -> PurgeReport:
        """Wipe one object, or with None everything, uploads in progress too.

        When this returns, it is done.

        Raises:
            PolicyError: The kernel did not let us wipe something; the rest is wiped.
        """
        if addr is None:
            return self._wipe_all(list(self._objects.values()), list(self._uploads), cause, purged)
        found = self._objects.get(addr)
        return self._wipe_all([found] if found else [], (), cause, purged)

    def purge_topic(self, topic: str, *, cause: Cause = Cause.PURGE) -> PurgeReport:
        """Wipe what was stored under a topic, by whomever, and what is being stored under it.

        Raises:
            PolicyError: See :meth:`purge`.
        """
        sought = mark(topic)
        return self._wipe_those(lambda labels: labels.has_topic(sought), cause, purged)

    def purge_revoked(self, ids: Collection[str], *, cause: Cause = Cause.REVOKE) -> PurgeReport:
        """Forget who stored with a capability of one of these revocation ids (hex).

        What nobody else has stored, too, is wiped, uploads in progress as well.

        Raises:
            PolicyError: See :meth:`purge`.
        """
        sought = frozenset(map(mark, ids))
        return self._wipe_those(lambda labels: labels.revoke(sought), cause, revoked)

    def next_expiry(self) -> float | None:
        """When the next object is due, or None when there is none."""
        first = next(iter(self._objects.values()), None)
        return None if first is None else first.expires_at

    def close(self) -> None:
        """Wipe everything and let go of the medium."""
        try:
            self.purge(cause=Cause.DRAIN)
        finally:
            self._medium.close()

    def _has(self, upload: Upload) -> bool:
        return upload in self._uploads

    def _keep(self, upload: Upload, addr: str, now: float) -> None:
        """Turn a verified upload into an object, or refresh the one that is there."""
        expires_at = now + self._config.ttl_s
        known = self._objects.pop(addr, None)
        if known is None:
            del self._uploads[upload]
            self._reserved -= upload.size
            self._used += upload.size
            known = StoredObject(addr, upload._blob, expires_at, upload.labels)
        else:
            self._drop(upload)
            known.expires_at = expires_at
            known.labels.merge(upload.labels)
        self._objects[addr] = known  # at the end again: the last to expire

    def _drop(self, upload: Upload) -> None:
        """Wipe an upload in progress; its room is free once the bytes are gone."""
        if upload in self._uploads:
            try:
                upload._blob.wipe()
            finally:
                del self._uploads[upload]
                self._reserved -= upload.size

    def _wipe(self, found: StoredObject) -> None:
        try:
            found._blob.wipe()
        finally:  # not before: who wipes everything while this is interrupted must find it
            del self._objects[found.addr]
            self._used -= found.size

    def _wipe_those(
        self, is_doomed: Callable[[Labels], bool], cause: Cause, why: Why
    ) -> PurgeReport:
        doomed = [found for found in self._objects.values() if is_doomed(found.labels)]
        uploads = [upload for upload in self._uploads if is_doomed(upload.labels)]
        return self._wipe_all(doomed, uploads, cause, why)

    def _wipe_all(
        self,
        doomed: Collection[StoredObject],
        uploads: Collection[Upload],
        cause: Cause,
        why: Why,
    ) -> PurgeReport:
        """Wipe all of these; one that cannot be wiped does not save the others."""
        report = PurgeReport(
            objects=len(doomed),
            uploads=len(uploads),
            bytes=sum(found.size for found in doomed) + sum(up.written for up in uploads),
        )
        for upload in uploads:
            upload._why_gone = why
        self.purged[cause] += len(doomed)
        failures = [*_failures(self._wipe, doomed), *_failures(self._drop, uploads)]
        if failures:
            raise failures[0]
        return report

    def _due(self, now: float) -> Iterator[StoredObject]:
        for found in self._objects.values():
            if now < found.expires_at:
                return
            yield found

    def _refuse(self, why: str, now: float) -> NoReturn:
        """Refuse for now; the next object to expire makes room."""
        due = self.next_expiry()
        wait_ms = MIN_RETRY_MS if due is None else int((due - now) * 1000)
        retry_after_ms = min(max(wait_ms, MIN_RETRY_MS), MAX_RETRY_MS)
        raise Refused(503, "busy", why, retry_after_ms=retry_after_ms)


def _failures(wipe: Callable[[Any], None], doomed: Iterable[object]) -> Iterator[PolicyError]:
    for one in doomed:
        try:
            wipe(one)
        except PolicyError as failure:
            yield failure
