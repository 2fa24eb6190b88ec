"""Authority: which capabilities a node believes, and what is asked of them.

    cap section --split--> proof, token --signature--> blocks --caveats--> Grant
                             |                                              |
                             +------ made for this channel, by its holder? -+

Only public keys are here. Verification happens once per token and session; then a
:class:`Presented` answers from its table, until a rotation or revocation makes the whole
generation stale. Expiry is judged at each use.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from dataclasses import replace
from enum import StrEnum

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from overlay_edge.config import AuthConfig, AuthMode
from overlay_edge.errors import Refused
from overlay_edge.proto.capability import (
    MAX_SECTION_BYTES,
    MAX_TOKEN_BYTES,
    Grant,
    Op,
    fingerprint,
    from_text,
    split_section,
)
from overlay_edge.proto.caveats import Mint, NotUnderstood, compile_blocks
from overlay_edge.proto.clock import ClockFloor
from overlay_edge.proto.keyring import Key, KeyRing

MAX_REMEMBERED = 1024  # hopeless tokens; 64 KiB of hashes
MAX_PRESENTED = 8  # tokens one session may use in turn before they are verified again
WRITES = frozenset({Op.PUT, Op.PUBLISH, Op.CONTROL})
BUSY_RETRY_MS = 60_000  # guess: the operator has to make room


class Reason(StrEnum):
    """Why a use was refused; a metric label."""

    UNAUTH = "unauth"
    INVALID_CAVEAT = "invalid_caveat"
    EXPIRED = "expired"
    REVOKED = "revoked"
    DENIED = "denied"


def ignore(_reason: Reason, _fingerprint: str) -> None:
    """Nobody wants to know what was refused."""


class _Bad(Exception):
    """This token is not believed. If hopeless, no time makes it good, only a generation may."""

    def __init__(self, reason: Reason, message: str, *, is_hopeless: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.is_hopeless = is_hopeless


class Authority:
    """Verifies capabilities.

    Args:
        config: What needs one, and the keys.
        clock: What time to believe; what is verified here raises its floor.
        on_refused: Told of each refusal: its reason, and the token's fingerprint or ``""``.

    Attributes:
        generation: Grants of another one are stale.
        failures: Refusals by reason.
    """

    def __init__(
        self,
        config: AuthConfig,
        clock: ClockFloor,
        on_refused: Callable[[Reason, str], None] = ignore,
    ) -> None:
        self.generation = 1
        self.failures = Counter(dict.fromkeys(map(str, Reason), 0))
        self.clock = clock
        self._config = config
        self._on_refused = on_refused
        self._ring = KeyRing(tuple(map(bytes.fromhex, config.keys)))
        self._revoked = dict.fromkeys(config.revoked)
        self._hopeless: OrderedDict[bytes, tuple[Reason, str]] = OrderedDict()

    @property
    def keys(self) -> tuple[Key, ...]:
        """The public keys, newest first."""
        return self._ring.keys

    @property
    def revoked(self) -> int:
        """How many ids are revoked."""
        return len(self._revoked)

    @property
    def mode(self) -> AuthMode:
        """What needs a capability."""
        return self._config.mode

    def is_needed(self, op: Op | None) -> bool:
        """Does an operation need a capability? None = one that no right names."""
        return self.mode is AuthMode.ALL or (self.mode is AuthMode.WRITE and op in WRITES)

    def load(self) -> None:
        """Load the library now: the first token must not make every session wait for it."""
        if self.mode is not AuthMode.NONE:
            import biscuit_auth  # noqa: F401 - loaded to be there

    # -- using --------------------------------------------------------------------------

    def verify(self, section: bytes, *, channel: bytes | None, now: float) -> Grant:
        """Verify a `cap` section and compile it.

        Args:
            section: As it came.
            channel: 32 bytes exported from TLS under the label of capabilities; None = no
                channel: then a token that names a holder is refused.
            now: Wall seconds.

        Raises:
            Refused: 401 if it proves nothing, 403 if it is revoked or not understood.
        """
        proof, token = split_section(section)
        if len(section) > MAX_SECTION_BYTES or not 0 < len(token) <= MAX_TOKEN_BYTES:
            raise self._refuse(
                Reason.UNAUTH, f"a capability of {len(token)} bytes, limit {MAX_TOKEN_BYTES}"
            )
        time = self.clock.judge(now).now
        digest = blake3(token).digest()
        mint = self._compiled(digest, token, time)
        grant = replace(mint.grant, fingerprint=fingerprint(token), generation=self.generation)
        if any(number in self._revoked for number in grant.revocation_ids):
            raise self._refuse(Reason.REVOKED, "the capability is revoked", token)
        if not _is_held(grant.holder, proof, channel):
            raise self._refuse(
                Reason.UNAUTH, "the capability is not proven to be held on this channel", token
            )
        if mint.issued is not None:
            self.clock.saw(mint.issued)
        return grant

    def check(self, grant: Grant, op: Op | None, subject: str, size: int, *, now: float) -> None:
        """Is a use covered now? None as operation: any grant will do.

        Raises:
            Refused: 403 if the grant is expired or does not cover it.
        """
        time = self.clock.judge(now).now
        if grant.expires is not None and time >= grant.expires + self._config.leeway_s:
            raise self._refuse(Reason.EXPIRED, "the capability is expired", name=grant.fingerprint)
        if self._ring.accept(grant.key_id, now=time) is None:
            raise self._refuse(
                Reason.EXPIRED, "the key of the capability is retired", name=grant.fingerprint
            )
        if op is not None and self.is_needed(op) and not grant.allows(op, subject, size):
            raise self._refuse(
                Reason.DENIED, f"the capability does not cover this {op}", name=grant.fingerprint
            )

    def bearer(self, text: str, op: Op, *, now: float) -> Grant:
        """Verify what came as a bearer token over HTTP, and that it covers an operation.

        Whatever the mode says: who asks this has decided that a capability is needed.

        Raises:
            Refused: 401 or 403.
        """
        try:
            token = from_text(text)
        except ValueError:
            raise self._refuse(Reason.UNAUTH, "a bearer token, expected base64") from None
        grant = self.verify(token, channel=None, now=now)
        self.check(grant, None, "", 0, now=now)
        if not grant.allows(op):
            raise self._refuse(
                Reason.DENIED, f"the capability does not cover {op}", name=grant.fingerprint
            )
        return grant

    def refuse_missing(self) -> Refused:
        """What to raise when there is no capability where one is needed."""
        return self._refuse(Reason.UNAUTH, "a capability is needed, none came")

    # -- changing -----------------------------------------------------------------------

    def revoke(self, number: str) -> None:
        """Believe no token that has a block of this revocation id.

        Raises:
            Refused: 400 if it is not an id, 503 if there is no room: none is forgotten.
        """
        number = number.lower()
        if len(number) != 128 or set(number) - set("0123456789abcdef"):
            raise Refused(400, "bad_request", "a revocation id, expected 128 hex digits")
        if number not in self._revoked and len(self._revoked) >= self._config.max_revoked:
            raise Refused(
                503,
                "busy",
                f"{len(self._revoked)} ids are revoked, limit auth.max_revoked",
                retry_after_ms=BUSY_RETRY_MS,
            )
        self._revoked[number] = None
        self._renew()

    def rotate(self, public: bytes, overlap_s: float, *, now: float) -> Key:
        """Believe a new key; the others end after the overlap. Sessions need not reconnect.

        Raises:
            Refused: 400 if it is not an Ed25519 public key.
        """
        try:
            Ed25519PublicKey.from_public_bytes(public)
        except ValueError:
            raise Refused(400, "bad_request", "a public key, expected 32 bytes") from None
        self._ring.rotate(public, overlap_s, now=self.clock.judge(now).now)
        self._renew()
        return self._ring.keys[0]

    def reconfigure(self, config: AuthConfig) -> frozenset[str]:
        """Take a new config: its keys and revoked ids only if the file changed those.

        What was rotated or revoked while running stays, whatever else is reloaded.

        Returns:
            The ids that are revoked from now on, and were not before.
        """
        if config.keys != self._config.keys:
            self._ring = KeyRing(tuple(map(bytes.fromhex, config.keys)))
        for number in set(self._config.revoked) - set(config.revoked):
            self._revoked.pop(number, None)
        added = frozenset(config.revoked) - self._revoked.keys()
        self._revoked |= dict.fromkeys(config.revoked)
        self._config = config
        self.clock.leeway_s = config.leeway_s
        self._renew()
        return added

    def _renew(self) -> None:
        self.generation += 1
        self._hopeless.clear()

    # -- between ------------------------------------------------------------------------

    def _compiled(self, digest: bytes, token: bytes, time: float) -> Mint:
        if (known := self._hopeless.get(digest)) is not None:
            self._hopeless.move_to_end(digest)
            raise self._refuse(*known, token)
        try:
            return _open(token, self._ring, time)
        except _Bad as bad:
            if bad.is_hopeless:
                self._hopeless[digest] = (bad.reason, str(bad))
            if len(self._hopeless) > MAX_REMEMBERED:
                self._hopeless.popitem(last=False)
            raise self._refuse(bad.reason, str(bad), token) from None

    def _refuse(
        self, reason: Reason, message: str, token: bytes = b"", *, name: str = ""
    ) -> Refused:
        self.failures[reason] += 1
        self._on_refused(reason, name or (fingerprint(token) if token else ""))
        if reason is Reason.UNAUTH:
            return Refused(401, "unauth", message)
        return Refused(403, "denied", message)


class Presented:
    """The capabilities of one session: each is verified once.

    Args:
        authority: The node's.
        channel: 32 bytes exported from this session's TLS.
    """

    def __init__(self, authority: Authority, channel: bytes | None) -> None:
        self._authority = authority
        self._channel = channel
        self._grants: OrderedDict[bytes, Grant] = OrderedDict()

    def identify(self, section: bytes, *, now: float) -> Grant | None:
        """Whose request is this? None = nobody's that we know, or that we ask.

        Raises:
            Refused: What is presented proves nothing, or is revoked.
        """
        if not section or self._authority.mode is AuthMode.NONE:
            return None
        digest = blake3(section).digest()
        grant = self._grants.get(digest)
        if grant is None or grant.generation != self._authority.generation:
            self._grants.pop(digest, None)
            grant = self._authority.verify(section, channel=self._channel, now=now)
            self._grants[digest] = grant
            if len(self._grants) > MAX_PRESENTED:
                self._grants.popitem(last=False)
        return grant

    def forget(self, ids: Collection[str]) -> bool:
        """Drop the grants of capabilities with these revocation ids; True if there were any."""
        gone = [
            digest
            for digest, grant in self._grants.items()
            if not frozenset(grant.revocation_ids).isdisjoint(ids)
        ]
        for digest in gone:
            del self._grants[digest]
        return bool(gone)

    def authorize(
        self, section: bytes, op: Op | None, subject: str = "", size: int = 0, *, now: float
    ) -> Grant | None:
        """May this request be served? Call once for each, before anything is done for it.

        Args:
            section: The `cap` section of its START frame.
            op: What it does; None = what no right names, such as an echo.
            subject: The object's address as far as known, the topic, or empty.
            size: Bytes it brings.
            now: Wall seconds.

        Returns:
            The grant it is served under; None = it needs none and has none.

        Raises:
            Refused: 401 or 403; already counted.
        """
        grant = self.identify(section, now=now)
        if grant is not None:
            self._authority.check(grant, op, subject, size, now=now)
        elif self._authority.is_needed(op):
            raise self._authority.refuse_missing()
        return grant


def _open(token: bytes, ring: KeyRing, time: float) -> Mint:
    """Signatures, form and sentences of a token.

    Raises:
        _Bad: One of them is wrong.
    """
    from biscuit_auth import Biscuit, PublicKey  # 13 ms: only where capabilities are used

    used: list[Key] = []

    def find(number: int | None) -> PublicKey:
        key = ring.accept(number, now=time)
        if key is None:
            raise LookupError("unknown key")
        used.append(key)
        return PublicKey(f"ed25519/{key.public.hex()}")

    try:
        biscuit = Biscuit.from_bytes(token, find)
        is_canonical = bytes(biscuit.to_bytes()) == token
        count = biscuit.block_count()
        foreign = any(biscuit.block_external_key(index) for index in range(count))
        blocks = [biscuit.block_source(index) for index in range(count)]
        ids = biscuit.revocation_ids
    except BaseException as error:  # the library's panics are no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        message = "the capability is not signed by a known key"
        raise _Bad(Reason.UNAUTH, message, is_hopeless=bool(used)) from None
    if not is_canonical:
        # The same token with other bytes would be another one to every cache and log.
        raise _Bad(Reason.UNAUTH, "the capability is not in its one form")
    if foreign:
        raise _Bad(Reason.INVALID_CAVEAT, "the capability has a block of a third party")
    try:
        mint = compile_blocks(blocks, ids)
    except NotUnderstood as error:
        message = f"the capability is not understood: {error}"
        raise _Bad(Reason.INVALID_CAVEAT, message) from None
    return replace(mint, grant=replace(mint.grant, key_id=used[0].id))


def _is_held(holder: bytes | None, proof: bytes, channel: bytes | None) -> bool:
    """Is the proof that of the holder, or absent where nobody is named?"""
    if holder is None or channel is None:
        return holder is None and not proof
    try:
        Ed25519PublicKey.from_public_bytes(holder).verify(proof, channel)
    except (InvalidSignature, ValueError):
        return False
    return True
