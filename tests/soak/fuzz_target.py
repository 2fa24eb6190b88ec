"""Fuzz targets: one function for each decoder, and inputs to begin with.

python -m tests.soak.fuzz_target NAME SEEDS [libFuzzer's options]

A target lets through what its decoder documents; anything else that comes out is a finding.
"""

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """One decoder.

    Attributes:
        prepare: Imports what it needs and returns what takes one input.
        seeds: Inputs to begin with.
    """

    prepare: Callable[[], Callable[[bytes], None]]
    seeds: Callable[[], list[bytes]]


def main() -> None:
    """Fuzz one target until its time or its runs are up."""
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

    name = sys.argv[1]
    with atheris.instrument_imports(include=["overlay_edge"]):
        import overlay_edge.proto.session  # noqa: F401

        take = TARGETS[name].prepare()
    atheris.Setup([sys.argv[0], *sys.argv[2:]], take)
    atheris.Fuzz()


# -- frames ---------------------------------------------------------------------------------


def _frames() -> Callable[[bytes], None]:
    from overlay_edge.errors import PeerViolation
    from overlay_edge.proto.frame import FrameDecoder, encode

    def take(data: bytes) -> None:
        """The first byte cuts the rest: any cut must give the same frames and the same end."""
        cut, stream = (data[0] + 1 if data else 1), data[1:]
        whole, pieces = FrameDecoder(), FrameDecoder()
        results = []
        for decoder, step in ((whole, len(stream) or 1), (pieces, cut)):
            found: list[Any] = []
            try:
                for at in range(0, len(stream), step):
                    decoder.feed(stream[at : at + step])
                    while (frame := decoder.next_frame()) is not None:
                        found.append(frame)
            except PeerViolation as violation:
                found.append(violation.name)
            results.append(found)
        assert results[0] == results[1]
        for frame in results[0]:
            if not isinstance(frame, str):
                assert encode(frame) in stream

    return take


def _frame_seeds() -> list[bytes]:
    from overlay_edge.proto.frame import END, REQ, START, Frame, encode
    from tests.soak.caller import HELLO

    one = encode(Frame(REQ | START | END, app=0x301, corr_id=1, cap=b"cap", payload=b"{}"))
    return [b"\x03" + HELLO + one, b"\x40" + one * 3, b"\x00" + one[:20]]


# -- what is inside frames ------------------------------------------------------------------


def _payload(
    read: Callable[[bytes], object], *allowed: type[BaseException]
) -> Callable[[bytes], None]:
    def take(data: bytes) -> None:
        with contextlib.suppress(*allowed):
            read(data)

    return take


def _hello() -> Callable[[bytes], None]:
    from overlay_edge.errors import PeerViolation
    from overlay_edge.proto.hello import read_answer, read_request

    request, answer = _payload(read_request, PeerViolation), _payload(read_answer, PeerViolation)

    def take(data: bytes) -> None:
        request(data)
        answer(data)

    return take


def _hello_seeds() -> list[bytes]:
    from overlay_edge.config import DEFAULTS
    from overlay_edge.proto.frame import Frame
    from overlay_edge.proto.hello import answer_frame, request_frame

    greeting = request_frame("soak", DEFAULTS.session("hybrid"))
    return [
        greeting.payload,
        answer_frame(Frame(1), DEFAULTS.session("hybrid")).payload,
        b'{"ua":null,"node":"n","features":{}}',
    ]


def _control() -> Callable[[bytes], None]:
    from overlay_edge.errors import PeerViolation
    from overlay_edge.proto.message import read_control, read_refusal

    def take(data: bytes) -> None:
        _payload(read_control, PeerViolation)(data)
        read_refusal(400, data)

    return take


def _control_seeds() -> list[bytes]:
    return [
        b'{"credit":65536}',
        b'{"ping":1}',
        b'{"pong":1}',
        b'{"goaway":{"reason":"draining","retry_after_ms":1000}}',
        b'{"error":"busy","message":"m","retry_after_ms":5}',
    ]


def _objects() -> Callable[[bytes], None]:
    from overlay_edge.errors import Refused
    from overlay_edge.proto.objects import read_request

    return _payload(read_request, Refused)


def _objects_seeds() -> list[bytes]:
    addr = b"b3:" + b"0" * 64
    return [
        b'{"op":"get","addr":"' + addr + b'"}',
        b'{"op":"head","addr":"' + addr + b'"}',
        b'{"op":"put","size":12,"addr":"' + addr + b'"}',
    ]


def _inflate() -> Callable[[bytes], None]:
    from overlay_edge.errors import PeerViolation
    from overlay_edge.proto.compression import MAX_INFLATED_BYTES, MAX_RATIO, inflate
    from overlay_edge.proto.frame import COMP, REQ, Frame

    def take(data: bytes) -> None:
        try:
            out = inflate(Frame(REQ | COMP, payload=data))
        except PeerViolation:
            return
        assert len(out) <= min(MAX_INFLATED_BYTES, MAX_RATIO * len(data))

    return take


def _inflate_seeds() -> list[bytes]:
    from backports import zstd

    texts = (b"", b"abc" * 9, bytes(range(256)) * 4, bytes(1 << 16))
    return [zstd.compress(text) for text in texts]


# -- tokens ---------------------------------------------------------------------------------


def _token() -> Callable[[bytes], None]:
    from overlay_edge.config import AuthConfig, AuthMode
    from overlay_edge.errors import Refused
    from overlay_edge.proto.authority import Authority
    from overlay_edge.proto.clock import ClockFloor
    from tests.support.mint import NOON, Site

    site = Site()
    good = site.mint()

    def take(data: bytes) -> None:
        """Noise, and noise that a holder of a real token signed as its narrowing."""
        config: AuthConfig = site.config(AuthMode.ALL)
        for section in (data, site.forge(data, good)):
            with contextlib.suppress(Refused):
                Authority(config, ClockFloor(NOON)).verify(section, channel=bytes(32), now=NOON)

    return take


def _token_seeds() -> list[bytes]:
    from tests.support.mint import Holder, Site

    site, holder = Site(), Holder()
    token = site.mint()
    narrowed = site.narrow(token, 'check if operation("get");')
    return [token, narrowed, holder.section(token), b"h1" + bytes(64), b"h1"]


def _caveats() -> Callable[[bytes], None]:
    from overlay_edge.proto.caveats import NotUnderstood, compile_blocks

    def take(data: bytes) -> None:
        blocks = data.decode("utf-8", "replace").split("\x00")
        with contextlib.suppress(NotUnderstood):
            compile_blocks(blocks, [f"{n:064x}" for n in range(len(blocks))])

    return take


def _caveat_seeds() -> list[bytes]:
    from overlay_edge.proto.caveats import write_mint
    from tests.support.mint import EVERYTHING, NOON

    mint = write_mint(EVERYTHING, issued=NOON).encode()
    checks = (
        b'check if operation("get") or operation("head");\n'
        b'check if object($a), $a.starts_with("b3:4f");\n'
        b'check if topic_in("site/**") or topic_in("x");\ncheck if size($n), $n <= 1000;\n'
        b"check if rate($n), $n <= 10;\ncheck if time($t), $t < 2026-11-24T00:00:00Z;"
    )
    return [mint, mint + b"\x00" + checks]


# -- topics of a broker ------------------------------------------------------------------------


def _topicmap() -> Callable[[bytes], None]:
    from overlay_edge.config.options import OPTIONS
    from overlay_edge.config.topicmap import TopicMap, conflicts, translated

    outward, inward = OPTIONS["mqtt.out"].read, OPTIONS["mqtt.in"].read

    def take(data: bytes) -> None:
        topics, *maps = data.decode("utf-8", "replace").split("\x00")
        try:
            out, into = outward(maps[:2]), inward(maps[2:])
        except ValueError:
            return
        if list(conflicts(out, into)):
            return
        both = TopicMap(out, into)
        for source, target in both.out.items():  # what goes out comes back as itself, if at all
            assert both.inward(target) in (None, source)
        for topic in topics.split("\n"):  # and nothing comes in twice
            assert sum(translated(one, topic) is not None for one in both.into) <= 1

    return take


def _topicmap_seeds() -> list[bytes]:
    return [
        b"plant/a/b\nplant\x00site/x -> plant/x\x00a->b\x00plant/# -> site\x00x/+ -> y",
        b"a\n/\n//\x00a -> a\x00b -> b/b\x00# -> all",
        b"a/b\n$SYS/x\x00x -> y\x00y -> z\x00+ -> one\x00a/+ -> two\x00+/# -> three",
    ]


# -- all of it ------------------------------------------------------------------------------


def _session() -> Callable[[bytes], None]:
    from overlay_edge.config import DEFAULTS
    from overlay_edge.proto.frame import FrameDecoder
    from overlay_edge.proto.session import Session
    from overlay_edge.proto.state import Role, State
    from tests.soak.caller import HELLO

    def take(data: bytes) -> None:
        """A peer's whole side after HELLO: nothing it writes may raise, all we write decodes."""
        now = 1000.0
        session = Session(Role.LISTENER, DEFAULTS.session("hybrid"), now=now)
        session.receive(HELLO, now=now)
        session.receive(_as_frames(data), now=now)
        decoder = FrameDecoder()
        for _ in range(64):
            now += 0.5
            out, _ = session.take_output(now=now)
            decoder.feed(out)
            while decoder.next_frame() is not None:
                pass
            session.receive(b"", now=now)
            session.wake(now=now)
            if session.state is State.CLOSED:
                break
        session.close(now=now)

    return take


def _as_frames(data: bytes) -> bytes:
    """Bytes as frames with sound lengths: two of flags and app, one of number, one of length."""
    from overlay_edge.proto.frame import HEADER

    out, at = [], 0
    apps = (0, 0x101, 0x201, 0x301, 0xF01)
    while at + 4 <= len(data):
        flags, app, number, length = data[at : at + 4]
        payload = data[at + 4 : at + 4 + length]
        at += 4 + len(payload)
        cap = min(3, len(payload)) if flags & 8 else 0
        head = HEADER.pack(
            38 + len(payload), 1, flags, 0, apps[app % 5], bytes(16), cap, number % 8
        )
        out.append(head + payload)
    return b"".join(out)


def _session_seeds() -> list[bytes]:
    get = b'{"op":"put","size":12}'
    credit = b'{"credit":70000}'
    head = bytes([0x09, 3, 1, len(get)]) + b"cap" + get[3:]
    return [
        head + bytes([0x11, 3, 1, 4]) + b"abcd",
        bytes([0x04, 0, 1, len(credit)]) + credit,
        bytes([0x19, 4, 2, 0]) + bytes([0x02, 0, 2, 0]),
    ]


TARGETS = {
    "frames": Target(_frames, _frame_seeds),
    "hello": Target(_hello, _hello_seeds),
    "control": Target(_control, _control_seeds),
    "objects": Target(_objects, _objects_seeds),
    "inflate": Target(_inflate, _inflate_seeds),
    "token": Target(_token, _token_seeds),
    "caveats": Target(_caveats, _caveat_seeds),
    "topicmap": Target(_topicmap, _topicmap_seeds),
    "session": Target(_session, _session_seeds),
}


if __name__ == "__main__":
    main()
