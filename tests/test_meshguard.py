"""Who is let into the mesh: both ends show a capability where publishing needs one."""

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from overlay_edge import meshguard
from overlay_edge.config import AuthMode, Config
from overlay_edge.errors import EdgeError, IdentityError
from overlay_edge.host.clock import wall
from overlay_edge.proto.capability import Grant, Op, to_text
from overlay_edge.proto.effects import Deliver
from tests.support.edge import edge
from tests.support.meshed import GOSSIP, MESHED, heard, joining, port, until
from tests.support.mint import Site

NODE = Grant(rights={Op.PUBLISH: ("",), Op.GET: ("",)}, topics=("_mesh",))


def private(folder: Path, name: str, data: bytes) -> str:
    """A file for its owner only."""
    file = folder / name
    file.touch(mode=0o600)
    file.write_bytes(data)
    return str(file)


def guarded(site: Site, folder: Path, grant: Grant = NODE, **more: str) -> Config:
    """Settings of a node that has a capability, and asks for one."""
    token = to_text(site.mint(grant, issued=wall())).encode()
    cap = private(folder, f"{len(list(folder.iterdir()))}.cap", token + b"\npublic\n")
    gossip = replace(GOSSIP, cap=cap, **more)
    return replace(MESHED, gossip=gossip, auth=site.config(AuthMode.ALL))


async def test_two_that_both_have_a_capability_are_neighbours(ram_path: Path) -> None:
    site = Site()
    async with (
        edge(guarded(site, ram_path)) as one,
        edge(joining(one, config=guarded(site, ram_path))) as two,
    ):
        await until(lambda: port(one).peers() and port(two).peers())
        subscription = port(two).subscribe("t")
        port(one).publish("t", b"x")
        assert isinstance(await heard(subscription), Deliver)


async def test_a_stranger_that_dials_is_refused(ram_path: Path) -> None:
    async with edge(guarded(Site(), ram_path)) as one, edge(joining(one)) as stranger:
        await until(lambda: "mesh_refused" in one.log)
        await until(lambda: port(stranger).stats()["links"] == 0)
        assert port(one).peers() == []


async def test_a_stranger_that_is_dialled_is_let_go(
    ram_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meshguard, "WAIT_S", 0.05)
    async with edge() as nobody, edge(MESHED) as stranger:
        config = joining(stranger, nobody, config=guarded(Site(), ram_path))
        async with edge(config) as one:
            await until(lambda: "shows no capability" in one.log)
            assert port(one).stats()["links"] == 0
            assert port(one).peers() == []


async def test_a_capability_for_something_else_lets_nobody_in(ram_path: Path) -> None:
    site = Site()
    other = replace(NODE, topics=("site/*",))
    async with (
        edge(guarded(site, ram_path)) as one,
        edge(joining(one, config=guarded(site, ram_path, other))) as two,
    ):
        await until(lambda: '"reason":"denied"' in one.log)
        assert port(one).peers() == port(two).peers() == []


async def test_a_capability_that_names_a_holder_is_proven_on_each_link(ram_path: Path) -> None:
    site, key = Site(), Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    held = replace(NODE, holder=key.public_key().public_bytes_raw())
    key_file = private(ram_path, "node.key", pem)
    async with edge(guarded(site, ram_path, held, cap_key=key_file)) as one:
        config = guarded(site, ram_path, held, cap_key=key_file)
        async with edge(joining(one, config=config)) as two:
            await until(lambda: port(one).peers() and port(two).peers())
        thief = guarded(site, ram_path, held)
        async with edge(joining(one, config=thief)):
            await until(lambda: "not proven to be held" in one.log or "mesh_refused" in one.log)


@pytest.mark.parametrize("text", [b"", b"!!"])
async def test_a_file_that_is_no_capability_ends_the_start(ram_path: Path, text: bytes) -> None:
    gossip = replace(GOSSIP, cap=private(ram_path, "bad.cap", text))
    with pytest.raises(IdentityError, match="expected a capability"):
        async with edge(replace(MESHED, gossip=gossip)):
            pass


async def test_a_key_that_is_none_ends_the_start(ram_path: Path) -> None:
    config = guarded(Site(), ram_path, cap_key=private(ram_path, "bad.key", b"no key"))
    with pytest.raises(EdgeError, match="expected an unencrypted Ed25519 key"):
        async with edge(config):
            pass
