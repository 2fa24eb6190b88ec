"""Tokens on the command line: what is minted here, an authority takes; narrowing is offline."""

from collections.abc import Callable
from pathlib import Path

import pytest

from overlay_edge.config import AuthConfig, AuthMode
from overlay_edge.ctl import mint as room
from overlay_edge.ctl.keyfile import read_cap, read_key
from overlay_edge.errors import Refused
from overlay_edge.host.build import Build
from overlay_edge.host.clock import wall
from overlay_edge.proto.authority import Authority, Presented
from overlay_edge.proto.capability import Op, join_section
from overlay_edge.proto.clock import ClockFloor
from tests.ctl.conftest import Done, Ronctl

ADDR = "b3:4f" + "0" * 62
CHANNEL = b"c" * 32


@pytest.fixture
def site(ronctl: Ronctl, tmp_path: Path) -> str:
    """The public key of the private one in site.key."""
    return ronctl("cap", "keygen", str(tmp_path / "site.key")).out.strip()


@pytest.fixture
def make(ronctl: Ronctl, tmp_path: Path, site: str) -> Callable[..., Done]:
    """Mint into a file of that name."""

    def call(name: str, *words: str) -> Done:
        key, out = str(tmp_path / "site.key"), str(tmp_path / name)
        return ronctl("cap", "mint", "--key", key, "-o", out, *words)

    return call


def session(site: str) -> Presented:
    config = AuthConfig(AuthMode.WRITE, (site,))
    return Presented(Authority(config, ClockFloor()), CHANNEL)


def token(tmp_path: Path, name: str) -> bytes:
    return read_cap("--cap", str(tmp_path / name)).cap.token


def test_what_is_minted_is_taken_for_a_day(
    make: Callable[..., Done], tmp_path: Path, site: str
) -> None:
    assert make("x.cap", "--op", "put", "--prefix", "b3:4f").code == 0
    here, now = session(site), wall()
    assert here.authorize(token(tmp_path, "x.cap"), Op.PUT, ADDR, now=now)
    for op, subject, later in ((Op.PUT, "b3:00", 0), (Op.CONTROL, "", 0), (Op.PUT, ADDR, 90_000)):
        with pytest.raises(Refused):
            here.authorize(token(tmp_path, "x.cap"), op, subject, now=now + later)


def test_without_a_file_the_token_is_printed(ronctl: Ronctl, tmp_path: Path, site: str) -> None:
    key = str(tmp_path / "site.key")
    plain = ronctl("cap", "mint", "--key", key, "--op", "get,head")
    assert (plain.code, plain.out.count("\n"), plain.err) == (0, 1, "")
    fields = ronctl("--json", "cap", "mint", "--key", key, "--op", "get", "--op", "head").json
    assert set(fields) == {"fingerprint", "expires", "token"}


def test_a_printed_token_can_be_kept_and_narrowed_with_the_sites_key(
    ronctl: Ronctl, tmp_path: Path, site: str
) -> None:
    printed = ronctl("cap", "mint", "--key", str(tmp_path / "site.key"), "--op", "put").out
    kept = tmp_path / "x.cap"
    kept.touch(0o600)
    kept.write_text(printed)
    missing = ronctl("cap", "attenuate", str(kept), "--ttl", "1h")
    assert missing.code == 2
    assert "--public: missing" in missing.err
    assert ronctl("cap", "attenuate", str(kept), "--ttl", "1h", "--public", site).code == 0
    wrong = ronctl("cap", "inspect", str(kept), "--public", "00" * 32)
    assert wrong.code == 2
    assert "has not signed" in wrong.err


def test_narrowing_needs_no_key_and_no_node(
    ronctl: Ronctl, make: Callable[..., Done], tmp_path: Path, site: str
) -> None:
    make("wide.cap", "--op", "get,put,publish", "--topic", "site/**")
    (tmp_path / "site.key").unlink()
    wide, narrow = str(tmp_path / "wide.cap"), str(tmp_path / "narrow.cap")
    done = ronctl("cap", "attenuate", wide, "--topic", "site/*/heat", "--ttl", "1h", "-o", narrow)
    assert done.code == 0
    here = session(site)
    assert here.authorize(token(tmp_path, "narrow.cap"), Op.PUBLISH, "site/7/heat", now=wall())
    for op, subject in ((Op.PUBLISH, "site/7"), (Op.PUT, ADDR)):
        with pytest.raises(Refused):
            here.authorize(token(tmp_path, "narrow.cap"), op, subject, now=wall())


def test_a_narrowing_to_nothing_is_told(
    ronctl: Ronctl, make: Callable[..., Done], tmp_path: Path
) -> None:
    make("x.cap", "--op", "get")
    nothing = ronctl("cap", "attenuate", str(tmp_path / "x.cap"), "--op", "put")
    assert nothing.code == 2
    assert "nothing is left" in nothing.err
    assert "nothing to narrow" in ronctl("cap", "attenuate", str(tmp_path / "x.cap")).err


def test_a_holder_named_by_its_key_must_prove_it(
    ronctl: Ronctl, make: Callable[..., Done], tmp_path: Path, site: str
) -> None:
    holder = ronctl("cap", "keygen", str(tmp_path / "me.key")).out.strip()
    make("x.cap", "--op", "put", "--holder", holder)
    section = join_section(
        read_key("--cap-key", str(tmp_path / "me.key")).sign(CHANNEL), token(tmp_path, "x.cap")
    )
    assert session(site).authorize(section, Op.PUT, now=wall())
    with pytest.raises(Refused):
        session(site).authorize(token(tmp_path, "x.cap"), Op.PUT, now=wall())


def test_inspect_says_what_is_allowed_and_how_to_revoke_it(
    ronctl: Ronctl, make: Callable[..., Done], tmp_path: Path, site: str
) -> None:
    make("x.cap", "--op", "put,control", "--prefix", "b3:4f", "--max-bytes", "1MiB", "--rate", "9")
    fields = ronctl("--json", "cap", "inspect", str(tmp_path / "x.cap")).json
    assert fields["rights"] == {"put": ["b3:4f"], "control": [""]}
    assert (fields["max_bytes"], fields["max_rps"], fields["key"]) == (1 << 20, 9, site)
    lines = ronctl("cap", "inspect", str(tmp_path / "x.cap")).out
    assert "  put        b3:4f\n  control\n" in lines
    assert f"revoke the mint: {fields['revocation_ids'][0]}" in lines


def test_topics_must_be_named_to_publish(make: Callable[..., Done]) -> None:
    done = make("x.cap", "--op", "publish")
    assert done.code == 2
    assert "--topic: missing" in done.err


def test_nothing_is_minted_by_a_wrong_clock(
    make: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "read_build", lambda: Build("x", "2096-01-01T00:00:00Z"))
    done = make("x.cap", "--op", "get")
    assert done.code == 2
    assert "before the newest signed time" in done.err
    assert "set the clock" in done.err


def test_no_private_key_is_ever_printed(
    ronctl: Ronctl, make: Callable[..., Done], tmp_path: Path
) -> None:
    done = [make("x.cap", "--op", "get"), ronctl("cap", "inspect", str(tmp_path / "x.cap"))]
    key = read_key("--key", str(tmp_path / "site.key")).private_bytes_raw()
    (tmp_path / "site.key").chmod(0o600)
    (tmp_path / "site.key").write_text(f"planted {key.hex()}")
    done.append(make("y.cap", "--op", "get"))
    for each in done:
        assert key.hex() not in each.out + each.err
        assert "planted" not in each.out + each.err
