from pathlib import Path

from tests.prove.evidence import Proof, report, to_json
from tests.prove.exits import CLASSES, GONE, Cell, Trial


def cell(before: int, after: int, *, must_go: bool = True) -> Cell:
    return Cell("purge", "object bytes", before, after, must_go)


def test_a_cell_holds_only_if_something_was_found_before_and_nothing_after() -> None:
    assert cell(5, 0).holds
    assert not cell(5, 1).holds
    assert not cell(0, 0).holds  # nothing was planted: finding nothing means nothing
    assert cell(5, 5, must_go=False).holds


def test_every_exit_clears_some_class_and_the_last_ones_clear_all() -> None:
    assert len(CLASSES) >= 10
    assert len(GONE) >= 10
    for name, gone in GONE.items():
        assert gone
        assert set(gone) <= set(CLASSES), name
    for name in ("power-off", "reboot", "kernel panic", "power cut", "panic button"):
        assert set(GONE[name]) == set(CLASSES)


def test_a_run_in_which_nothing_was_tried_proves_nothing(tmp_path: Path) -> None:
    image = tmp_path / "edge.img"
    image.write_bytes(b"image")
    proof = Proof(image, is_short=True)
    assert not proof.holds
    proof.trials.append(Trial("purge", (cell(5, 0),), 1.0, 100))
    assert proof.holds
    proof.broken["leaks"] = "it ended early"
    assert not proof.holds
    assert "it ended early" in report(proof)
    assert to_json(proof)["holds"] is False


def test_one_hit_where_none_may_be_fails_the_run_and_shows_in_the_table(tmp_path: Path) -> None:
    proof = Proof(tmp_path / "edge.img", is_short=True)
    proof.trials.append(Trial("purge", (cell(16384, 3),), 1.0, 100))
    assert not proof.holds
    assert "FAIL  exit: purge" in report(proof)
    row = next(line for line in report(proof).splitlines() if line.startswith("object bytes"))
    assert row.split()[-2:] == ["16384", "3"]
