"""`ronctl cap`: make, narrow, look at, revoke and rotate capabilities.

keygen --> site.key (private, here) + public key (to the nodes' auth.keys)
mint   --> token    --attenuate--> narrower tokens, offline, by whoever holds one
rotate --> a new key; the node takes the old one for an overlap
"""

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from typing import Any

from overlay_edge.config.values import Option, duration, format_duration, size
from overlay_edge.ctl.output import emit, wiped

DAY_MS = 86_400_000
OPS = ("get", "head", "put", "publish", "subscribe", "control")


def register(verbs: Any, shared: ArgumentParser) -> None:
    """Add the verb and what stands behind it."""
    verb = verbs.add_parser("cap", help="make, narrow, look at, revoke and rotate capabilities")
    inner = verb.add_subparsers(required=True, metavar="VERB")

    def add(name: str, text: str, run: Callable[[Namespace], int]) -> ArgumentParser:
        found: ArgumentParser = inner.add_parser(
            name, parents=[shared], help=text, description=text, allow_abbrev=False
        )
        found.set_defaults(run=run)
        return found

    keygen = add("keygen", "make a private key, print the public one", _keygen)
    keygen.add_argument("file", metavar="FILE", help="new file for the private key, mode 0600")

    mint = add("mint", "make a capability with the site's private key", _mint)
    mint.add_argument("--key", required=True, metavar="FILE", help="the site's private key")
    mint.add_argument(
        "--holder", type=public_key, metavar="HEX", help="only the owner of this key may use it"
    )
    _limits(mint, needs_op=True)

    attenuate = add("attenuate", "make a narrower capability of one, offline", _attenuate)
    attenuate.add_argument("file", metavar="FILE", help="the capability")
    attenuate.add_argument("--public", type=public_key, metavar="HEX", help="the site's key")
    _limits(attenuate, needs_op=False)

    inspect = add("inspect", "say what a capability allows, and the ids to revoke it by", _inspect)
    inspect.add_argument("file", metavar="FILE", help="the capability")
    inspect.add_argument("--public", type=public_key, metavar="HEX", help="the site's key")

    revoke = add(
        "revoke",
        "tell a node not to believe a capability, nor any made of it, and to wipe what they stored",
        _revoke,
    )
    revoke.add_argument("id", type=revocation_id, metavar="ID", help="from ronctl cap inspect")

    rotate = add("rotate", "make a new key and tell a node to believe it", _rotate)
    rotate.add_argument("file", metavar="FILE", help="new file for the new private key")
    rotate.add_argument(
        "--overlap",
        type=_shape(duration(0, 30 * DAY_MS)),
        default=86_400.0,
        metavar="TIME",
        help="how long the old keys are still believed (24h)",
    )


def _limits(verb: ArgumentParser, *, needs_op: bool) -> None:
    add = verb.add_argument
    add("--op", action="extend", type=_ops, default=[], required=needs_op, metavar="OP,...",
        help=", ".join(OPS))  # fmt: skip
    add("--prefix", action="append", type=prefix, default=[], metavar="b3:HEX",
        help="only objects whose address begins like this; may be repeated")  # fmt: skip
    add("--topic", action="append", type=topic, default=[], metavar="PATTERN",
        help="topics: * is one level, ** at the end all below; may be repeated")  # fmt: skip
    add("--max-bytes", type=_shape(size(0, 1 << 40)), metavar="SIZE", help="of one object put")
    add("--rate", type=_rate, metavar="N", help="requests per second")
    add("--ttl", type=_shape(duration(1000, 365 * DAY_MS)), metavar="TIME",
        default=86_400.0 if needs_op else None,
        help="how long it is good for" + (" (24h)" if needs_op else ""))  # fmt: skip
    add("-o", "--output", metavar="FILE", help="new file, mode 0600; else it is printed")


# -- shapes ----------------------------------------------------------------------------------


def public_key(text: str) -> bytes:
    """Ed25519 public key."""
    if not re.fullmatch("[0-9A-Fa-f]{64}", text):
        raise ArgumentTypeError("expected 64 hex digits")
    return bytes.fromhex(text)


def revocation_id(text: str) -> str:
    """Id of a block."""
    if not re.fullmatch("[0-9A-Fa-f]{128}", text):
        raise ArgumentTypeError("expected 128 hex digits")
    return text.lower()


def prefix(text: str) -> str:
    """Beginning of an object's address."""
    if not re.fullmatch("b3:[0-9a-f]{0,64}", text):
        raise ArgumentTypeError('expected "b3:" and up to 64 lower-case hex digits')
    return text


def topic(text: str) -> str:
    """Pattern of topics."""
    from overlay_edge.proto.capability import is_pattern

    if not re.fullmatch("[A-Za-z0-9_.:/*+~=-]{1,128}", text) or not is_pattern(text):
        raise ArgumentTypeError('expected levels such as "site/*/heat" or "site/**"')
    return text


def _ops(text: str) -> list[str]:
    words = text.split(",")
    if not set(words) <= set(OPS):
        raise ArgumentTypeError("expected some of " + ",".join(OPS))
    return words


def _rate(text: str) -> int:
    if not re.fullmatch("[0-9]{1,6}", text) or not int(text):
        raise ArgumentTypeError("expected 1 to 999999")
    return int(text)


def _shape(option: Option) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return option.read(text)
        except ValueError as misfit:
            raise ArgumentTypeError(f"expected {misfit}") from None

    return read


# -- what they do ----------------------------------------------------------------------------


def _keygen(args: Namespace) -> int:
    from overlay_edge.ctl.keyfile import new_key

    public = new_key(args.file).public_key().public_bytes_raw().hex()
    emit(args.json, {"file": args.file, "public": public}, public)
    return 0


def _mint(args: Namespace) -> int:
    from overlay_edge.ctl.mint import mint

    return mint(args)


def _attenuate(args: Namespace) -> int:
    from overlay_edge.ctl.mint import attenuate

    return attenuate(args)


def _inspect(args: Namespace) -> int:
    from overlay_edge.ctl.mint import inspect

    return inspect(args)


def _revoke(args: Namespace) -> int:
    from overlay_edge.ctl.control import post

    done = post(args, "/control/revoke", {"id": args.id})
    told = f"revoked {args.id[:16]}... until the node restarts"
    emit(args.json, {**done, "revoked": args.id}, told, wiped(done))
    return 0


def _rotate(args: Namespace) -> int:
    from overlay_edge.ctl.control import post
    from overlay_edge.ctl.keyfile import new_key

    public = new_key(args.file).public_key().public_bytes_raw().hex()
    post(args, "/control/rotate", {"key": public, "overlap_s": args.overlap})
    emit(
        args.json,
        {"file": args.file, "public": public, "overlap_s": args.overlap},
        public,
        f"the other keys are believed for {format_duration(args.overlap)};"
        " put this one into auth.keys before the node restarts",
    )
    return 0
