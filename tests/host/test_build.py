"""The stamp of a build."""

from pathlib import Path

import pytest

from overlay_edge.host.build import Build, read_build


def test_a_stamp_names_revision_and_time(tmp_path: Path) -> None:
    stamp = tmp_path / "build.json"
    stamp.write_text('{"git": "0123abcd", "build": "2026-01-02T03:04:05Z"}')
    assert read_build(stamp) == Build("0123abcd", "2026-01-02T03:04:05Z")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"git": 1}', "\x00"])
def test_a_copy_without_a_good_stamp_says_so(tmp_path: Path, text: str) -> None:
    stamp = tmp_path / "build.json"
    assert read_build(stamp) == Build("unknown", "source")
    stamp.write_text(text)
    assert read_build(stamp) == Build("unknown", "source")
