"""Tokens as their owners make them: mint with a private key, narrow offline, look inside."""

from argparse import Namespace
from typing import TYPE_CHECKING

from overlay_edge.ctl.keyfile import Stored, cap_text, read_cap, read_key, write_cap
from overlay_edge.ctl.output import emit
from overlay_edge.errors import ConfigError
from overlay_edge.host.build import read_build
from overlay_edge.host.clock import wall
from overlay_edge.host.terminal import printable
from overlay_edge.proto.capability import (
    MAX_TOKEN_BYTES,
    OBJECT_OPS,
    TOPIC_OPS,
    Capability,
    Grant,
    Op,
)
from overlay_edge.proto.caveats import (
    NotUnderstood,
    compile_blocks,
    write_date,
    write_mint,
    write_narrowing,
)
from overlay_edge.proto.clock import ClockFloor, built_time
from overlay_edge.proto.keyring import key_id

if TYPE_CHECKING:
    from biscuit_auth import Biscuit

CLOCK_HINT = "a token made now would end at the wrong time: set the clock first"
PUBLIC_HINT = "the site's public key, as `ronctl cap keygen` printed it"


def mint(args: Namespace) -> int:
    """Make a token with the site's private key."""
    from biscuit_auth import BiscuitBuilder, PrivateKey

    now = _trusted_now()
    ops = tuple(Op(word) for word in args.op)
    if TOPIC_OPS & set(ops) and not args.topic:
        raise ConfigError(["--topic: missing, expected with publish and subscribe"])
    every = tuple(args.prefix) or ("",)
    grant = Grant(
        rights={op: every if op in OBJECT_OPS else ("",) for op in ops},
        topics=tuple(args.topic),
        max_bytes=args.max_bytes,
        rates=(("", args.rate),) if args.rate is not None else (),
        expires=now + args.ttl,
        holder=args.holder,
    )
    key = read_key("--key", args.key)
    public = key.public_key().public_bytes_raw()
    builder = BiscuitBuilder(write_mint(grant, issued=now))
    builder.set_root_key_id(key_id(public))
    private = PrivateKey(f"ed25519-private/{key.private_bytes_raw().hex()}")
    return _hand_over(args, bytes(builder.build(private).to_bytes()), public)


def attenuate(args: Namespace) -> int:
    """Make a narrower token of one that is held; no key and no node is needed."""
    from biscuit_auth import BlockBuilder

    stored = read_cap("FILE", args.file)
    expires = _trusted_now() + args.ttl if args.ttl is not None else None
    text = write_narrowing(
        ops=args.op,
        prefixes=args.prefix,
        topics=args.topic,
        max_bytes=args.max_bytes,
        rate=args.rate,
        expires=expires,
    )
    if not text:
        raise ConfigError(["nothing to narrow, expected one of --op, --prefix, --topic, ..."])
    public = _public(args, stored)
    narrow = _open(stored.cap, public).append(BlockBuilder(text))
    return _hand_over(args, bytes(narrow.to_bytes()), public)


def inspect(args: Namespace) -> int:
    """Say what a token allows, and the ids to revoke it by."""
    stored = read_cap("FILE", args.file)
    public = _public(args, stored)
    biscuit = _open(stored.cap, public)
    grant, issued = _compiled(biscuit)
    dates = {
        name: write_date(time) if time is not None else None
        for name, time in (("issued", issued), ("expires", grant.expires))
    }
    fields: dict[str, object] = {
        "fingerprint": stored.cap.fingerprint,
        "key": public.hex(),
        **dates,
        "rights": {op: list(prefixes) for op, prefixes in grant.rights.items()},
        "topics": list(grant.topics),
        "max_bytes": grant.max_bytes,
        "max_rps": grant.max_rps,
        "holder": grant.holder.hex() if grant.holder else None,
        "revocation_ids": list(grant.revocation_ids),
    }
    lines = [f"capability {stored.cap.fingerprint}, signed by {public.hex()}"]
    for op, prefixes in grant.rights.items():
        what = " or ".join(grant.topics if op in TOPIC_OPS else prefixes)
        lines.append(f"  {op:<10} {what or ('everything' if op in OBJECT_OPS else '')}".rstrip())
    for name in ("max_bytes", "max_rps", "holder", "issued", "expires"):
        if fields[name] is not None:
            lines.append(f"  {name:<10} {fields[name]}")
    for index, number in enumerate(grant.revocation_ids):
        block = "mint" if index == 0 else f"narrowing {index}"
        lines.append(f"  revoke the {block}: {number}")
    emit(args.json, fields, *lines)
    return 0


def _hand_over(args: Namespace, token: bytes, public: bytes) -> int:
    """Print the token, or keep it in a file, if a node would take it."""
    if len(token) > MAX_TOKEN_BYTES:
        raise ConfigError([f"a token of {len(token)} bytes, limit {MAX_TOKEN_BYTES}"])
    stored = Stored(Capability(token), public)
    grant, _ = _compiled(_open(stored.cap, public))
    if not grant.ops:
        raise ConfigError(["nothing is left that this capability would allow"])
    fields: dict[str, object] = {"fingerprint": stored.cap.fingerprint}
    if grant.expires is not None:
        fields["expires"] = write_date(grant.expires)
    if args.output:
        write_cap(args.output, stored)
        where = f"{printable(args.output)}: capability {stored.cap.fingerprint}"
        emit(args.json, fields | {"file": args.output}, where)
    else:
        emit(args.json, fields | {"token": cap_text(stored.cap)}, cap_text(stored.cap))
    return 0


def _public(args: Namespace, stored: Stored) -> bytes:
    public: bytes = args.public or stored.public
    if not public:
        raise ConfigError(
            ["--public: missing, expected because the file has only the token"], hint=PUBLIC_HINT
        )
    return public


def _open(cap: Capability, public: bytes) -> "Biscuit":
    from biscuit_auth import Biscuit, BiscuitValidationError, PublicKey

    try:
        return Biscuit.from_bytes(cap.token, PublicKey(f"ed25519/{public.hex()}"))
    except (BiscuitValidationError, ValueError):
        raise ConfigError(
            ["a capability that this public key has not signed"], hint=PUBLIC_HINT
        ) from None


def _compiled(biscuit: "Biscuit") -> tuple[Grant, float | None]:
    blocks = [biscuit.block_source(index) for index in range(biscuit.block_count())]
    try:
        found = compile_blocks(blocks, biscuit.revocation_ids)
    except NotUnderstood as error:
        raise ConfigError([f"a capability that no node would understand: {error}"]) from None
    return found.grant, found.issued


def _trusted_now() -> float:
    """The time, if this machine's clock can be right."""
    now, is_trusted, reason = ClockFloor(built_time(read_build().build)).judge(wall())
    if not is_trusted:
        raise ConfigError([reason], hint=CLOCK_HINT)
    return now
