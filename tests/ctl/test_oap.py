"""Decoding frames: the reference's vectors, and whatever else is thrown at it."""

import json
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.ctl.oap import describe
from overlay_edge.errors import PeerViolation
from overlay_edge.proto.frame import App, Flag, Frame, encode
from tests.ctl.conftest import Ronctl

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "oap1-vectors.json").read_text())
ECHO = encode(Frame(flags=Flag.REQ | Flag.START | Flag.END, app=App.ECHO, payload=b"hi"))


@pytest.mark.parametrize("name", VECTORS["accept"])
def test_every_frame_of_the_reference_is_one_line(ronctl: Ronctl, name: str) -> None:
    text = VECTORS["accept"][name]
    done = ronctl("oap", "decode", text)
    assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)
    line = done.json
    assert 38 + line["cap_bytes"] + line["payload_bytes"] == len(text) // 2


@pytest.mark.parametrize("name", VECTORS["refuse"])
def test_every_refusal_is_named(ronctl: Ronctl, name: str) -> None:
    vector = VECTORS["refuse"][name]
    done = ronctl("oap", "decode", vector["hex"])
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"{vector['error']}: ")
    told = json.loads(ronctl("oap", "decode", vector["hex"], "--json").err)
    assert told["error"] == vector["error"]


def test_a_greeting_shows_its_json(ronctl: Ronctl) -> None:
    line = ronctl("oap", "decode", VECTORS["accept"]["hello_roundtrip"]).json
    assert line == {
        "kind": "REQ",
        "flags": ["REQ"],
        "code": 0,
        "app": 0,
        "app_name": "control",
        "tenant": "0xaa",
        "corr_id": 42,
        "cap_bytes": 0,
        "payload_bytes": 16,
        "payload": {"ua": "sdk/0.1"},
    }


def test_a_capability_is_a_secret(ronctl: Ronctl) -> None:
    done = ronctl("oap", "decode", VECTORS["accept"]["start_with_cap"])
    assert done.json["cap_bytes"] == 27
    assert len(done.json["cap_sha256"]) == 12
    assert "macaroon" not in done.out


@pytest.mark.parametrize("is_hex", [True, False])
def test_good_frames_before_a_bad_one_are_shown(ronctl: Ronctl, is_hex: bool) -> None:
    bad = bytes.fromhex(VECTORS["refuse"]["bad_version"]["hex"])
    data = ECHO + ECHO + bad + ECHO
    stdin = data.hex(" ", 4).encode() + b"\n" if is_hex else data
    done = ronctl("oap", "decode", "-", stdin=stdin)
    assert done.code == 1
    assert [json.loads(line)["text"] for line in done.out.splitlines()] == ["hi", "hi"]
    assert done.err.startswith("BadVersion: ")


@pytest.mark.parametrize(("length", "missing"), [(1, 37), (37, 1), (38, 2), (39, 1)])
def test_incomplete_input_says_what_is_missing(ronctl: Ronctl, length: int, missing: int) -> None:
    done = ronctl("oap", "decode", ECHO[:length].hex())
    assert (done.code, done.out) == (1, "")
    assert f"{length} bytes, {missing} more are missing" in done.err


@pytest.mark.parametrize("text", ["xyz", "000", "0x00", "\x1b[2J"])
def test_what_is_not_hex_is_wrong_usage(ronctl: Ronctl, text: str) -> None:
    done = ronctl("oap", "decode", text)
    assert (done.code, done.out) == (2, "")
    assert done.err.replace("\n", "").isprintable()


def test_nothing_is_no_frame_and_no_error(ronctl: Ronctl) -> None:
    assert ronctl("oap", "decode", "-").code == 0


def test_a_compressed_payload_is_inflated_within_its_limits() -> None:
    flags = int(Flag.REQ | Flag.START | Flag.COMP)
    frame = Frame(flags=flags, app=App.ECHO, payload=zstd.compress(b"hello hello hello"))
    line = describe(frame)
    assert (line["inflated_bytes"], line["text"]) == (17, "hello hello hello")
    bomb = Frame(flags=flags, app=App.ECHO, payload=zstd.compress(b"0" * 100_000))
    with pytest.raises(PeerViolation, match="inflate to more than"):
        describe(bomb)
    sealed = describe(Frame(flags=flags | Flag.APP_E2E, app=App.ECHO, payload=bomb.payload))
    assert sealed["hex"] == bomb.payload.hex()


def test_a_long_payload_is_cut_and_says_so() -> None:
    text = describe(Frame(flags=1, app=App.ECHO, payload="ü".encode() * 1000))
    assert (text["text"], text["payload_bytes"], text["shown_bytes"]) == ("ü" * 256, 2000, 512)
    raw = describe(Frame(flags=1, app=App.ECHO, payload=b"\xff" * 1000))
    assert (len(str(raw["hex"])), raw["shown_bytes"]) == (1024, 512)


@pytest.mark.parametrize("payload", [b'{"a":NaN}', b"1e999", b"[" * 9999, b"{", b'"\\ud800"'])
def test_json_that_is_none_is_shown_as_text(payload: bytes) -> None:
    json.loads(json.dumps(describe(Frame(flags=1, payload=payload)), allow_nan=False))


@given(st.binary(max_size=200), st.integers(0, 255), st.sampled_from([0, 0x0F01, 0x7777]))
def test_any_frame_has_a_line(payload: bytes, flags: int, app: int) -> None:
    try:
        line = describe(Frame(flags=flags, app=app, payload=payload))
    except PeerViolation as refusal:
        assert flags & Flag.COMP
        assert refusal.name in {"BadCompression", "RatioCap"}
    else:
        assert json.dumps(line, allow_nan=False).isprintable()
