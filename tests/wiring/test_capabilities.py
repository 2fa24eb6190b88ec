"""Capabilities on a whole node: who may write, who may not any more, and what is told of it."""

import asyncio
import io
import json
import socket
import ssl
import threading
from dataclasses import replace

import pytest

from overlay_edge.client import Client, connect
from overlay_edge.config import AuthMode, Config
from overlay_edge.errors import EdgeError, Refused
from overlay_edge.host.clock import wall
from overlay_edge.operations import Operations
from overlay_edge.proto.audit import Cursor
from overlay_edge.proto.capability import Capability, Grant, Op
from overlay_edge.proto.caveats import write_narrowing
from overlay_edge.proto.frame import END, REQ, START, Frame, FrameDecoder, encode
from tests.support.edge import LOCAL, Edge, edge
from tests.support.mint import EVERYTHING, Holder, Site


def owned(site: Site, mode: AuthMode = AuthMode.WRITE) -> Config:
    return replace(LOCAL, auth=site.config(mode))


async def put(client: Client, data: bytes = b"mine") -> str:
    return await client.put(io.BytesIO(data), len(data))


def mint(site: Site, grant: Grant = EVERYTHING) -> Capability:
    return Capability(site.mint(grant, issued=wall()))


def records(running: Edge) -> list[dict[str, object]]:
    batch = running.node._audit.read(Cursor(0, ""), 1000, ts_ms=int(1000 * wall()))
    return [json.loads(line) for line in batch.lines]


async def test_strangers_read_and_owners_write() -> None:
    site = Site()
    async with edge(owned(site)) as running:
        cap = mint(site)
        async with connect(running.oap, pin=running.pin, cap=cap) as owner:
            addr = await put(owner)
        async with running.client() as stranger:
            assert await stranger.head(addr) == 4
            assert await stranger.echo(b"open") == b"open"
            with pytest.raises(Refused) as caught:
                await put(stranger)
            assert (caught.value.code, caught.value.token) == (401, "unauth")
            assert await stranger.echo(b"still open") == b"still open"
        told = running.node.view.counters()
        assert told.auth_failures["unauth"] == 1
        assert told.rejected["unauth"] == 1
        kinds = [record["kind"] for record in records(running)]
        assert kinds.count("cap_used") == 1


async def test_in_mode_all_nothing_is_served_to_strangers() -> None:
    async with edge(owned(Site(), AuthMode.ALL)) as running, running.client() as stranger:
        for ask in (stranger.echo(b"x"), stranger.head("b3:" + "0" * 64), put(stranger)):
            with pytest.raises(Refused) as caught:
                await ask
            assert caught.value.code == 401


async def test_a_capability_covers_what_it_says_and_no_more() -> None:
    site = Site()
    reader = Grant(rights={Op.GET: ("",), Op.HEAD: ("",)})
    async with (
        edge(owned(site)) as running,
        connect(running.oap, pin=running.pin, cap=mint(site, reader)) as client,
    ):
        with pytest.raises(Refused) as caught:
            await put(client)
        assert (caught.value.code, caught.value.token) == (403, "denied")


async def test_another_sites_capability_is_worth_nothing() -> None:
    async with edge(owned(Site())) as running:
        async with connect(running.oap, pin=running.pin, cap=mint(Site())) as client:
            with pytest.raises(Refused) as caught:
                await put(client)
            assert caught.value.code == 401
        assert any(record["kind"] == "cap_denied" for record in records(running))


async def test_a_holder_proves_its_key_on_this_very_channel() -> None:
    site, holder = Site(), Holder()
    cap = mint(site, replace(EVERYTHING, holder=holder.public))
    async with edge(owned(site)) as running:
        async with connect(running.oap, pin=running.pin, cap=cap, sign=holder.sign) as client:
            await put(client)
        async with connect(running.oap, pin=running.pin, cap=cap, sign=Holder().sign) as thief:
            with pytest.raises(Refused) as caught:
                await put(thief)
            assert caught.value.code == 401


async def test_rotation_takes_hold_on_open_sessions_without_a_reconnect() -> None:
    old, new = Site(), Site()
    async with (
        edge(owned(old)) as running,
        connect(running.oap, pin=running.pin, cap=mint(old)) as before,
        connect(running.oap, pin=running.pin, cap=mint(new)) as after,
    ):
        await put(before)
        with pytest.raises(Refused):
            await put(after)
        operations(running).rotate(new.public.hex(), 3600.0)
        await put(before, b"the overlap")
        await put(after, b"the new key")
        operations(running).rotate(new.public.hex(), 0.0)
        with pytest.raises(Refused):
            await put(before)
        await put(after)


async def test_a_revoked_capability_is_refused_on_open_sessions_at_once() -> None:
    site = Site()
    cap = mint(site)
    async with (
        edge(owned(site)) as running,
        connect(running.oap, pin=running.pin, cap=cap) as client,
    ):
        await put(client)
        authority = running.node._authority
        grant = authority.verify(cap.token, channel=None, now=wall())
        authority.revoke(grant.revocation_ids[0])
        with pytest.raises(Refused) as caught:
            await put(client)
        assert (caught.value.code, caught.value.token) == (403, "denied")


async def test_what_a_narrowed_capability_stored_goes_with_either_of_its_blocks() -> None:
    site = Site()
    whole = mint(site)
    narrow = Capability(site.narrow(whole.token, write_narrowing(ops=["put"])))
    async with edge(owned(site)) as running:
        store, authority = running.node.view.store, running.node._authority
        assert store is not None
        ids = authority.verify(narrow.token, channel=None, now=wall()).revocation_ids
        assert len(ids) == 2
        for number in ids:
            async with connect(running.oap, pin=running.pin, cap=narrow) as client:
                await put(client)
            assert store.purge_revoked([number]).objects == 1


def ids_of(running: Edge, cap: Capability) -> tuple[str, ...]:
    return running.node._authority.verify(cap.token, channel=None, now=wall()).revocation_ids


def operations(running: Edge) -> Operations:
    assert running.node._operations is not None
    return running.node._operations


async def test_a_revocation_wipes_what_was_stored_and_ends_the_sessions() -> None:
    site = Site()
    bad, good = mint(site), mint(site, replace(EVERYTHING, max_bytes=1 << 20))
    async with (
        edge(owned(site)) as running,
        connect(running.oap, pin=running.pin, cap=bad) as theirs,
        connect(running.oap, pin=running.pin, cap=good) as ours,
        connect(running.oap, pin=running.pin, cap=bad) as uploading,
    ):
        gone, both, kept = await put(theirs, b"gone"), await put(theirs, b"both"), await put(ours)
        assert await put(ours, b"both") == both
        upload = asyncio.create_task(uploading.put(_Endless(), 1 << 20))
        store = running.node.view.store
        assert store is not None
        await running.until(lambda: store.reserved_bytes)
        told = await operations(running).revoke(ids_of(running, bad)[0])
        assert (told["objects"], told["uploads"], told["sessions"]) == (1, 1, 2)
        assert told["bytes"] >= 4
        assert running.node.view.tally.sessions_active == 1  # theirs have left, not only been told
        assert store.reserved_bytes == 0
        with pytest.raises(Refused) as caught:
            await upload
        assert (caught.value.code, caught.value.token) == (403, "denied")
        with pytest.raises(EdgeError, match="revoked"):
            await theirs.echo(b"x")
        assert await ours.head(both) == await ours.head(kept) == 4
        with pytest.raises(Refused):
            await ours.head(gone)
        assert running.node.view.counters().store_purged["revoke"] == 1


async def test_a_capability_that_came_with_hello_and_was_never_used_ends_its_session() -> None:
    """No client of ours sends one there: the frame is written by hand."""
    site = Site()
    cap = mint(site)
    hello = encode(Frame(REQ | START | END, cap=cap.token, payload=b'{"ua":null,"features":{}}'))

    def use(port: int, greeted: threading.Event) -> list[Frame]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["ron/oap1"])
        decoder, found = FrameDecoder(), []
        with context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10)) as sock:
            sock.sendall(hello)
            while data := sock.recv(65536):
                decoder.feed(data)
                while frame := decoder.next_frame():
                    found.append(frame)
                    greeted.set()
        return found

    async with edge(owned(site)) as running:
        number = ids_of(running, cap)[0]
        greeted = threading.Event()
        port = int(running.oap.rpartition(":")[2])
        using = asyncio.create_task(asyncio.to_thread(use, port, greeted))
        await running.until(greeted.is_set)
        assert (await operations(running).revoke(number))["sessions"] == 1
        answer, refusal = await using
        assert (answer.code, refusal.code, refusal.corr_id) == (200, 403, 0)
        assert b'"denied"' in refusal.payload


async def test_a_revocation_by_the_settings_wipes_too_and_is_audited() -> None:
    site = Site()
    cap = mint(site)
    config = owned(site)
    wanted = config
    async with (
        edge(config, read_config=lambda: wanted) as running,
        connect(running.oap, pin=running.pin, cap=cap) as client,
    ):
        await put(client)
        number = ids_of(running, cap)[0]
        wanted = replace(config, auth=replace(config.auth, revoked=(number,)))
        await operations(running).reload()
        assert running.node.view.counters().store_objects == 0
        with pytest.raises(EdgeError):
            await client.echo(b"x")
        (record,) = [r for r in records(running) if r["kind"] == "cap_revoked"]
        assert record["actor"] == {"name": "reload"}
        assert record["subject"] == {"name": number}
        assert record["attrs"] == {"objects": 1, "uploads": 0, "bytes": 4, "sessions": 1}


async def test_no_capability_is_ever_in_the_log_or_on_a_page() -> None:
    site = Site()
    cap = mint(site)
    async with edge(owned(site)) as running:
        async with connect(running.oap, pin=running.pin, cap=cap) as client:
            await put(client)
        told = running.log + json.dumps(records(running)) + str(running.node.view.counters())
        for form in (cap.token.hex(), str(cap.token), repr(cap.token)[2:40]):
            assert form not in told
        assert cap.fingerprint in json.dumps(records(running))


async def test_a_node_that_believes_nobody_says_so_and_stays_in_rotation() -> None:
    config = replace(LOCAL, auth=replace(LOCAL.auth, mode=AuthMode.WRITE))
    async with edge(config) as running:
        snapshot = running.node.view.readiness()
        assert (snapshot.ready, snapshot.degraded, snapshot.missing) == (True, True, ("auth",))


class _Endless(io.RawIOBase):
    def read(self, size: int = -1) -> bytes:
        return bytes(min(size, 1000))
