"""The journal: JSON lines that no peer can forge, flood or steer a terminal with."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_edge.host import journal as room
from overlay_edge.host.journal import Journal


class Paper:
    """Collects lines."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []

    def __call__(self, line: bytes) -> None:
        self.raw.append(line)

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.raw]


@pytest.fixture
def paper() -> Paper:
    return Paper()


@pytest.fixture
def hand_clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(room, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_has_the_agreed_keys_first(paper: Paper) -> None:
    Journal(sink=paper).info("accept", peer="192.0.2.1:4000", bytes=7, ready=True)
    (line,) = paper.lines
    assert list(line)[:4] == ["ts", "level", "service", "event"]
    assert str(line.pop("ts")).endswith("Z")
    assert line == {
        "level": "INFO",
        "service": "svc-overlay",
        "event": "accept",
        "peer": "192.0.2.1:4000",
        "bytes": 7,
        "ready": True,
    }


def test_a_correlation_id_is_found_by_the_search_operators_use(paper: Paper) -> None:
    Journal(sink=paper).warning("reject", reason="busy", corr_id=42)
    (line,) = paper.lines
    assert line["corr_id"] == 42
    assert b"corr_id=42" in paper.raw[0]
    assert b"WARN" in paper.raw[0]


def test_lines_below_the_level_are_not_written(paper: Paper) -> None:
    quiet = Journal("warning", sink=paper)
    quiet.debug("a")
    quiet.info("b")
    quiet.warning("c")
    quiet.error("d")
    assert [line["event"] for line in paper.lines] == ["c", "d"]


@given(st.text())
def test_text_of_a_peer_stays_inside_its_value(text: str) -> None:
    paper = Paper()
    Journal(sink=paper).info("hello", ua=text, more=[text, {text: text}])
    (raw,) = paper.raw
    assert raw.count(b"\n") == 1
    assert all(0x20 <= byte < 0x7F for byte in raw[:-1])
    assert len(raw) < 12 * 4 * (room.MAX_TEXT + 3) + 200
    assert str(json.loads(raw)["ua"]).startswith(text[: room.MAX_TEXT])


def test_a_value_of_any_kind_is_written_and_bounded(paper: Paper) -> None:
    Journal(sink=paper).info("odd", data=b"x" * 999, many=list(range(99)), deep=[[[["x"]]]])
    (line,) = paper.lines
    assert str(line["data"]).endswith("...")
    assert line["many"] == list(range(room.MAX_ITEMS))
    assert line["deep"] == [["[['x']]"]]


def test_the_same_warning_is_sampled_and_the_rest_counted(
    paper: Paper, hand_clock: list[float]
) -> None:
    log = Journal(sink=paper)
    for _ in range(20):
        log.warning("reject", reason="busy")
    log.warning("reject", reason="timeout")
    assert len(paper.lines) == room.SAMPLE_LINES + 1
    assert log.suppressed_total == 20 - room.SAMPLE_LINES
    hand_clock[0] += room.SAMPLE_PERIOD_S
    log.warning("reject", reason="busy")
    assert paper.lines[-1]["left_out"] == 20 - room.SAMPLE_LINES


def test_peers_that_come_and_go_all_day_do_not_fill_the_log(
    paper: Paper, hand_clock: list[float]
) -> None:
    log = Journal("debug", sink=paper)
    for _ in range(1000):
        log.info("session_opened", peer_addr="192.0.2.1:4000")
    assert len(paper.lines) == room.SAMPLE_INFO_LINES
    for _ in range(1000):
        log.debug("accept", peer_addr="192.0.2.1:4000")
    assert len(paper.lines) == room.SAMPLE_INFO_LINES + 1000


def test_a_peer_that_invents_reasons_does_not_make_the_table_grow(paper: Paper) -> None:
    log = Journal(sink=paper)
    for number in range(1000):
        log.warning("reject", reason=f"made up {number}")
    assert len(log._samples) <= room.MAX_KINDS


def test_an_exception_is_one_line_and_its_traceback_is_for_debug(paper: Paper) -> None:
    log = Journal(sink=paper)
    try:
        raise ValueError("two\nlines")
    except ValueError as exc:
        log.exception("service_crashed", exc)
        Journal("debug", sink=paper).exception("service_crashed", exc)
    brief, long = paper.lines
    assert brief["error"] == "ValueError: two\nlines"
    assert "traceback" not in brief
    assert isinstance(long["traceback"], list)


def test_what_libraries_log_comes_as_lines_too(paper: Paper, root_logger: logging.Logger) -> None:
    log = Journal()
    log.configure("info", sink=paper)
    logging.getLogger("asyncio").warning("slow callback %s", "x")
    logging.getLogger("aiohttp.server").error("bad", exc_info=ValueError("y"))
    logging.getLogger("aiohttp.access").info("not for us")
    first, second = paper.lines
    assert (first["event"], first["level"], first["reason"]) == ("library", "WARN", "asyncio")
    assert (second["level"], second["error"]) == ("ERROR", "ValueError: y")


@contextmanager
def stderr_pipe() -> Iterator[int]:
    """The reading end of a pipe that is standard error meanwhile."""
    saved = os.dup(2)
    reader, writer = os.pipe()
    os.dup2(writer, 2)
    os.close(writer)
    try:
        yield reader
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        with suppress(OSError):
            os.close(reader)


def test_a_reader_that_stopped_reading_does_not_hold_the_node_up() -> None:
    log = Journal("debug")
    with stderr_pipe() as reader:
        for number in range(2000):  # a pipe holds 64 KiB
            log.debug("line", number=number, text="x" * 100)
        first = os.read(reader, 1 << 20).splitlines()
        log.debug("line", number=2000)
        last = os.read(reader, 1 << 20)
    assert log.suppressed_total > 0
    assert len(first) + log.suppressed_total == 2000
    assert [json.loads(line)["number"] for line in first] == list(range(len(first)))
    assert json.loads(last)["number"] == 2000


def test_a_long_line_arrives_whole() -> None:
    with stderr_pipe() as reader:
        Journal().info("long", many=["x" * 200] * 32)
        assert len(json.loads(os.read(reader, 1 << 20))["many"]) == 32


def test_a_reader_that_is_gone_is_no_error() -> None:
    log = Journal()
    with stderr_pipe() as reader:
        os.close(reader)
        log.error("lost")
    assert log.suppressed_total == 1


def test_who_watches_sees_what_is_written_and_nothing_else(paper: Paper) -> None:
    journal, seen = Journal("info", paper), []
    forget = journal.watch(seen.append)
    journal.info("one", text="\x1b" * 300)
    journal.debug("not written")
    forget()
    forget()
    journal.info("two")
    assert seen == paper.lines[:1]
