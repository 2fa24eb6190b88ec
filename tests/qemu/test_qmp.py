import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from qemu.errors import QemuError
from qemu.qmp import Qmp

STATS = {"rd_operations": 5, "wr_operations": 0}
ANSWERS: dict[str, list[dict[str, object]]] = {
    "qmp_capabilities": [{"return": {}}],
    "query-blockstats": [
        {"event": "RESUME"},
        {"return": [{"device": "flash", "stats": {}}, {"device": "medium", "stats": STATS}]},
    ],
    "query-nonsense": [{"error": {"class": "CommandNotFound", "desc": "no such command"}}],
    "quit": [],
}


@pytest.fixture
def qmp(tmp_path: Path) -> Iterator[Qmp]:
    """A connection to something that speaks like QEMU."""
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "qmp"))
        door.listen()

        def serve() -> None:
            talk = door.accept()[0]
            with talk, talk.makefile("rw") as lines:
                print(json.dumps({"QMP": {}}), file=lines, flush=True)
                for line in lines:
                    answers = ANSWERS[json.loads(line)["execute"]]
                    if not answers:
                        return
                    for answer in answers:
                        print(json.dumps(answer), file=lines, flush=True)

        thread = threading.Thread(target=serve)
        thread.start()
        with Qmp(tmp_path / "qmp") as connection:
            yield connection
        thread.join()


def test_an_event_between_command_and_answer_is_kept_for_who_waits_for_it(qmp: Qmp) -> None:
    assert qmp.disk_counters() == STATS
    assert qmp.wait_event("RESUME") == {"event": "RESUME"}
    with pytest.raises(TimeoutError):
        qmp.wait_event("RESUME", limit_s=0.01)


def test_every_drive_has_its_counters(qmp: Qmp) -> None:
    assert qmp.all_counters() == {"flash": {}, "medium": STATS}


def test_an_error_answer_is_raised_in_its_words(qmp: Qmp) -> None:
    with pytest.raises(QemuError, match="query-nonsense: no such command"):
        qmp.call("query-nonsense")


def test_an_unknown_drive_is_named(qmp: Qmp) -> None:
    with pytest.raises(QemuError, match="cdrom"):
        qmp.disk_counters("cdrom")


def test_a_closed_socket_is_an_error_not_an_empty_answer(qmp: Qmp) -> None:
    with pytest.raises(QemuError, match="closed its control socket"):
        qmp.call("quit")
