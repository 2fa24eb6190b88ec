"""Answer: short, an object, and about what was asked."""

import pytest

from overlay_edge.bridge.answer import MAX_ANSWER_BYTES, read_providers, read_text
from overlay_edge.bridge.neighbour import Failed
from overlay_edge.proto.retry import Outcome


class Text:
    """A body that is here already."""

    def __init__(self, text: bytes, step: int = 7) -> None:
        self.size = len(text)
        self.is_closed = False
        self._text = text
        self._step = step

    async def read(self, limit: int) -> bytes:
        taken = self._text[: min(limit, self._step)]
        self._text = self._text[len(taken) :]
        return taken

    def close(self) -> None:
        self.is_closed = True


async def test_an_object_comes_back_as_it_is_and_nothing_is_an_empty_one() -> None:
    assert await read_text(Text(b'{"a": [1]}'), "mailbox") == b'{"a": [1]}'
    assert await read_text(Text(b""), "mailbox") == b"{}"


@pytest.mark.parametrize("text", [b"7", b"{", b"\xff", b"[" * 9000, b'"' + b"x" * 70_000 + b'"'])
async def test_anything_else_is_a_lie_and_the_connection_is_let_go(text: bytes) -> None:
    body = Text(text, MAX_ANSWER_BYTES)
    with pytest.raises(Failed) as caught:
        await read_text(body, "mailbox")
    assert (caught.value.outcome, body.is_closed) == (Outcome.LIED, True)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (b'{"key":"a","providers":[]}', Outcome.MISSING),
        (b'{"key":"b","providers":[1]}', Outcome.LIED),
        (b'{"key":"a","providers":{}}', Outcome.LIED),
        (b'{"providers":[1]}', Outcome.LIED),
    ],
)
async def test_an_index_that_names_nobody_or_something_else(text: bytes, outcome: Outcome) -> None:
    with pytest.raises(Failed) as caught:
        await read_providers(Text(text), "a", "index")
    assert caught.value.outcome is outcome
    await read_providers(Text(b'{"key":"a","providers":[1]}'), "a", "index")
