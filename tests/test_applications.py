"""Applications: echo, objects and the mailbox, over two real sessions."""

import os

import pytest
from backports import zstd
from blake3 import blake3

from overlay_edge.applications import MAX_ECHO_BYTES, Applications
from overlay_edge.config import DEFAULTS, AuthConfig, AuthMode
from overlay_edge.proto.authority import Authority, Presented
from overlay_edge.proto.clock import ClockFloor
from overlay_edge.proto.events import Abandoned, Body, Requested, Responded
from overlay_edge.proto.flow import Source
from overlay_edge.proto.frame import CHUNK_BYTES, COMP, REQ, App, Frame, encode, encode_json
from overlay_edge.proto.pool import Pool, Share
from overlay_edge.store.cache import ObjectStore
from overlay_edge.store.medium import MemfdMedium
from overlay_edge.store.wiping import purged
from tests.support.pair import SETTINGS, Bytes, Pair, settings


def open_to_all() -> Presented:
    return Presented(Authority(AuthConfig(mode=AuthMode.NONE), ClockFloor()), None)


class Served:
    """A pair whose listening side is served."""

    def __init__(self, window: int = 16) -> None:
        self.pair = Pair(listener=settings(send_window_frames=window, max_rps=100_000)).greet()
        self.store = ObjectStore(DEFAULTS.store, MemfdMedium())
        self.share = Share(Pool(4 << 20))
        self.served = Applications(self.pair.listener, self.store, self.share, open_to_all())
        self.names: list[tuple[str, str]] = []

    def ask(self, app: int, payload: bytes, source: Source | None = None) -> tuple[int, bytes]:
        """One request to its end: the last code, and head or error body plus bulk."""
        corr_id = self.pair.dialler.request(app, payload, source=source)
        code, parts = 0, []
        while self.pair.carry():
            self.serve()
            for told in self.pair.take(self.pair.dialler):
                if isinstance(told, Responded) and told.corr_id == corr_id:
                    code = told.code
                    parts.append(told.payload)
                    if not told.is_first:
                        self.pair.dialler.consumed(corr_id, len(told.payload))
        for answer in self.pair.answered:
            self.names.append(self.served.answered(answer.corr_id)[:2])
        self.pair.answered.clear()
        return code, b"".join(parts)

    def serve(self) -> None:
        for told in self.pair.take(self.pair.listener):
            if isinstance(told, Requested):
                self.served.requested(told, now=self.pair.now)
            elif isinstance(told, Body):
                self.served.body(told, now=self.pair.now)
            elif isinstance(told, Abandoned):
                self.served.abandoned(told)


def addr_of(data: bytes) -> str:
    return f"b3:{blake3(data).hexdigest()}"


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 900_000])
def test_an_echo_comes_back_whatever_its_size(size: int) -> None:
    data = os.urandom(size)
    served = Served()
    assert served.ask(App.ECHO, data) == (200, data)
    assert served.names == [("echo", "echo")]


@pytest.mark.parametrize("window", [1, 2, 16])
def test_an_echo_of_many_chunks_streams_through_the_window(window: int) -> None:
    data = os.urandom(40 * CHUNK_BYTES)
    served = Served(window)
    assert served.ask(App.ECHO, data[:10], Bytes(data[10:])) == (200, data)


def test_echoes_that_are_not_read_back_are_refused_before_they_pile_up() -> None:
    served = Served()
    session = served.pair.listener
    for corr_id in range(1, 50, 2):
        asked = Requested(corr_id, App.ECHO, 0, b"", bytes(MAX_ECHO_BYTES // 4), is_whole=True)
        session._inbound._open[corr_id] = _request(corr_id)
        served.served.requested(asked, now=served.pair.now)
    held = sum(echo.held for echo in served.served._echoes.values())
    assert held <= MAX_ECHO_BYTES
    assert "busy" in {answer.token for answer in served.pair.answered}


def _request(corr_id: int) -> object:
    from overlay_edge.proto.flow import Window
    from overlay_edge.proto.inbound import Request

    return Request(corr_id, App.ECHO, 0, 0.0, 0.0, Window(1 << 20), is_whole=True)


def test_put_head_and_get_agree() -> None:
    data = os.urandom(5 * CHUNK_BYTES + 3)
    served = Served()
    put = encode_json({"op": "put", "size": len(data), "addr": addr_of(data)})
    assert served.ask(App.OBJECTS, put, Bytes(data)) == (
        200,
        encode_json({"addr": addr_of(data)}),
    )
    described = encode_json({"addr": addr_of(data), "size": len(data), "chunk": CHUNK_BYTES})
    head = encode_json({"op": "head", "addr": addr_of(data)})
    assert served.ask(App.OBJECTS, head) == (200, described)
    get = encode_json({"op": "get", "addr": addr_of(data)})
    assert served.ask(App.OBJECTS, get) == (206, described + data)
    assert served.names == [("objects", "put"), ("objects", "head"), ("objects", "get")]


def test_a_topic_labels_what_is_put_under_it() -> None:
    served = Served()
    put = encode_json({"op": "put", "size": 4, "topic": "site/heat"})
    assert served.ask(App.OBJECTS, put, Bytes(b"warm"))[0] == 200
    assert served.store.purge_topic("site/rain").objects == 0
    assert served.store.purge_topic("site/heat").objects == 1
    code, told = served.ask(App.OBJECTS, b'{"op":"put","size":4,"topic":4}', Bytes(b"warm"))
    assert (code, b"topic" in told) == (400, True)


def test_an_empty_object_needs_no_second_frame() -> None:
    served = Served()
    stored = encode_json({"addr": addr_of(b"")})
    assert served.ask(App.OBJECTS, b'{"op":"put","size":0}') == (200, stored)
    code, described = served.ask(App.OBJECTS, encode_json({"op": "get", "addr": addr_of(b"")}))
    assert (code, b'"size":0' in described) == (200, True)


@pytest.mark.parametrize(
    ("request_", "data", "code", "token"),
    [
        ({"op": "get", "addr": "b3:" + "0" * 64}, None, 404, b"not_found"),
        ({"op": "head", "addr": "b3:" + "0" * 64}, None, 404, b"not_found"),
        ({"op": "get", "addr": "b3:" + "0" * 64}, b"bytes", 400, b"bad_request"),
        ({"op": "get", "addr": "sha256:00"}, None, 400, b"bad_request"),
        ({"op": "steal"}, None, 400, b"bad_request"),
        ({"op": "put", "size": 5}, b"four", 400, b"bad_size"),
        ({"op": "put", "size": 3}, b"four", 400, b"bad_size"),
        ({"op": "put", "size": 4}, None, 400, b"bad_size"),
        ({"op": "put", "size": 4, "addr": "b3:" + "0" * 64}, b"four", 400, b"bad_digest"),
        ({"op": "put", "size": 1 << 40}, b"x", 413, b"too_large"),
    ],
)
def test_a_request_that_cannot_be_served_is_refused_and_leaves_nothing(
    request_: dict[str, object], data: bytes | None, code: int, token: bytes
) -> None:
    served = Served()
    source = None if data is None else Bytes(data)
    found, body = served.ask(App.OBJECTS, encode_json(request_), source)
    assert (found, token in body) == (code, True)
    assert (served.store.object_count, served.store.used_bytes) == (0, 0)
    assert served.store.reserved_bytes == 0
    assert served.ask(App.ECHO, b"still here") == (200, b"still here")


def test_the_mailbox_says_that_nobody_is_behind_it() -> None:
    code, body = Served().ask(App.MAILBOX, b'{"op":"send"}')
    assert (code, b"not_ready" in body) == (503, True)


def test_an_application_nobody_serves_is_not_found() -> None:
    code, body = Served().ask(0x7777, b"")
    assert (code, b"0x7777" in body) == (404, True)


def test_an_upload_that_is_abandoned_is_thrown_away() -> None:
    served = Served()
    put = encode_json({"op": "put", "size": 9})
    corr_id = served.pair.dialler.request(App.OBJECTS, put, source=_Never())
    served.pair.settle()
    served.serve()
    assert served.store.reserved_bytes == 9
    served.pair.now += 5
    served.pair.told[served.pair.listener] += served.pair.listener.wake(now=served.pair.now)
    served.serve()
    assert served.store.reserved_bytes == 0
    assert corr_id


def test_a_lost_link_throws_every_upload_away() -> None:
    served = Served()
    for _ in range(3):
        served.pair.dialler.request(App.OBJECTS, b'{"op":"put","size":9}', source=_Never())
    served.pair.settle()
    served.serve()
    assert served.store.reserved_bytes == 27
    served.served.close()
    assert served.store.reserved_bytes == 0


@pytest.mark.parametrize("how", ["bomb", "stall", "end of the link"])
def test_an_echo_that_ends_early_gives_its_share_of_the_pool_back(how: str) -> None:
    served = Served(window=1)
    pool, pair = served.share.pool, served.pair
    corr_id = pair.dialler.request(App.ECHO, bytes(12 * CHUNK_BYTES), source=_Never())
    pair.settle()
    served.serve()
    pair.settle()
    assert pool.used_bytes > CHUNK_BYTES  # more than the window lets out
    if how == "bomb":
        payload = zstd.compress(bytes(9000))
        bomb = Frame(REQ | COMP, app=App.ECHO, corr_id=corr_id, payload=payload)
        pair.told[pair.listener] += pair.listener.receive(encode(bomb), now=pair.now)
    elif how == "stall":
        pair.now += SETTINGS.read_timeout_s
        pair.told[pair.listener] += pair.listener.wake(now=pair.now)
    else:
        pair.listener.close(now=pair.now)
    served.serve()
    for answer in pair.answered:
        served.served.answered(answer.corr_id)
    assert pool.used_bytes == 0


def test_an_echo_that_was_not_read_for_long_is_not_called_stalled_when_it_is() -> None:
    served = Served(window=1)
    pair = served.pair
    source = Bytes(bytes(3 * CHUNK_BYTES), chunk=CHUNK_BYTES)
    corr_id = pair.dialler.request(App.ECHO, bytes(2 * CHUNK_BYTES), source=source)
    for _ in range(3):
        pair.carry()
        served.serve()
    pair.settle()  # the window back is full, and what came since is held
    for _ in range(3):
        pair.now += SETTINGS.read_timeout_s - 1
        pair.dialler.ping()
        pair.carry()
        assert pair.listener.wake(now=pair.now) == []
    pair.take(pair.dialler)
    pair.dialler.consumed(corr_id, CHUNK_BYTES)
    pair.carry()  # all that was held leaves; the peer has not had a chance to send more
    assert pair.listener.wake(now=pair.now) == []


def test_an_object_purged_while_it_is_sent_ends_its_answer_with_404() -> None:
    data = os.urandom(20 * CHUNK_BYTES)
    served = Served(window=2)
    served.ask(App.OBJECTS, encode_json({"op": "put", "size": len(data)}), Bytes(data))
    served.pair.dialler.request(App.OBJECTS, encode_json({"op": "get", "addr": addr_of(data)}))
    for _ in range(3):
        served.pair.carry()
        served.serve()
    served.store.purge()
    codes = []
    while told := [*served.pair.take(served.pair.dialler)] or served.pair.carry():
        for event in told if isinstance(told, list) else []:
            assert isinstance(event, Responded)
            codes.append(event.code)
            if not event.is_first and event.code == 206:
                served.pair.dialler.consumed(event.corr_id, len(event.payload))
    assert codes[0] == 200
    assert codes[-1] == 404


def test_cut_requests_are_refused_and_nothing_of_them_is_held() -> None:
    served = Served(window=1)
    pair = served.pair
    pair.dialler.request(App.ECHO, bytes(3 * CHUNK_BYTES), source=_Never())
    pair.dialler.request(App.OBJECTS, encode_json({"op": "put", "size": 9}), source=_Never())
    for _ in range(3):
        pair.carry()
        served.serve()
    assert (served.share.held_bytes, served.store.upload_count) == (CHUNK_BYTES, 1)
    served.served.cut(purged, now=pair.now)
    assert (served.share.held_bytes, served.store.upload_count) == (0, 0)
    assert [answer.token for answer in pair.answered] == ["busy", "busy"]
    pair.settle()
    refused = [told for told in pair.take(pair.dialler) if isinstance(told, Responded)]
    assert [told.code for told in refused if told.is_last] == [503, 503]


class _Never:
    def read(self, limit: int) -> None:
        return None

    def close(self) -> None:
        pass
