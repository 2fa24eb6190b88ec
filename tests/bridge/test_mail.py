"""Mail: a request becomes one path and one body, or is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.bridge.mail import MESSAGE_ID, Mail, read_mail
from overlay_edge.errors import Refused
from overlay_edge.proto.frame import CHUNK_BYTES


def test_only_an_acknowledgement_may_be_made_twice() -> None:
    assert read_mail(b'{"op":"send","x":"\\u00e4"}') == Mail(
        "/v1/send", '{"x":"ä"}'.encode(), False
    )
    assert read_mail(b'{"op":"recv"}') == Mail("/v1/recv", b"{}", False)
    assert read_mail(b'{"op":"ack","id":"A.9"}') == Mail("/v1/ack/A.9", b"{}", True)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", 400),
        (b"[]", 400),
        (b'{"op":"steal"}', 400),
        (b'{"op":["send"]}', 400),
        (b'{"op":"send","x":"\\ud800"}', 400),
        (b'{"op":"ack"}', 400),
        (b'{"op":"ack","id":7}', 400),
        (b'{"op":"ack","id":""}', 400),
        (b'{"op":"ack","id":".."}', 400),
        (b'{"op":"ack","id":"../send"}', 400),
        (b'{"op":"ack","id":"a?b"}', 400),
        (b'{"op":"ack","id":"a%2fb"}', 400),
        (b'{"op":"ack","id":"a\\n"}', 400),
        (b'{"op":"ack","id":"' + b"a" * 129 + b'"}', 400),
        (b" " * (CHUNK_BYTES + 1), 413),
    ],
)
def test_what_makes_no_sense_is_refused(payload: bytes, code: int) -> None:
    with pytest.raises(Refused) as caught:
        read_mail(payload)
    assert caught.value.code == code


@given(st.text(max_size=9))
def test_no_id_leads_anywhere_else(name: str) -> None:
    if MESSAGE_ID.fullmatch(name):
        assert name.isascii()
        assert not set(name) & set("/?#%\\ \r\n")
        assert name not in (".", "..")
