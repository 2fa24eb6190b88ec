import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from image.closure import Import, Library, closure
from image.errors import INCOMPLETE, ImageError
from image.target import INSIDE

BUILTIN = frozenset({"sys", "_thread"})


def scan(files: list[Path]) -> Mapping[Path, list[Import]]:
    request = json.dumps({"files": [str(path) for path in files]})
    done = subprocess.run(
        [sys.executable, INSIDE / "scan.py"],
        input=request,
        capture_output=True,
        text=True,
        check=True,
    )
    rows = json.loads(done.stdout)["imports"]
    return {
        Path(p): [Import(m, tuple(n), lv, g, ln) for m, n, lv, g, ln in r] for p, r in rows.items()
    }


def library(root: Path, drop: frozenset[str] = frozenset(), **files: str) -> Library:
    for name, text in files.items():
        path = root / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Library([root], BUILTIN, drop)


def reach(lib: Library, *roots: str, excuse: set[str] | None = None) -> set[str]:
    return set(closure(lib, roots or ("app",), frozenset(excuse or ()), scan))


def test_imports_are_followed_and_the_rest_stays_out(tmp_path: Path) -> None:
    lib = library(tmp_path, app="import sys, one", one="from two import x", two="", other="")
    assert reach(lib) == {"app", "one", "two"}


def test_an_import_inside_a_function_counts(tmp_path: Path) -> None:
    lib = library(tmp_path, app="def f():\n import late\n", late="")
    assert "late" in reach(lib)


def test_a_missing_module_is_named_with_its_place(tmp_path: Path) -> None:
    lib = library(tmp_path, app="x = 1\nimport gone\n")
    with pytest.raises(ImageError, match=r"gone \(app\.py of app, line 2\)") as caught:
        reach(lib)
    assert caught.value.code == INCOMPLETE


@pytest.mark.parametrize(
    "text",
    [
        "try:\n import gone\nexcept ImportError:\n gone = None\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n import gone\n",
        "import sys\nif sys.version_info < (3, 8):\n import gone\n",
        "import sys\nif sys.platform == 'win32':\n import gone\n",
    ],
)
def test_an_import_that_is_expected_to_fail_or_never_runs_is_fine(
    tmp_path: Path, text: str
) -> None:
    assert "gone" not in reach(library(tmp_path, app=text, typing=""))


def test_an_else_branch_of_a_version_check_is_followed(tmp_path: Path) -> None:
    text = "import sys\nif sys.version_info < (3, 8):\n import gone\nelse:\n import here\n"
    assert "here" in reach(library(tmp_path, app=text, here=""))


def test_the_recipe_can_drop_and_excuse(tmp_path: Path) -> None:
    lib = library(tmp_path, frozenset({"pdb"}), app="import pdb, winreg", pdb="")
    assert reach(lib, excuse={"winreg"}) == {"app"}


def test_relative_imports_and_submodules_are_found(tmp_path: Path) -> None:
    lib = Library([tmp_path], BUILTIN)
    files = {
        "app.py": "import pack.a",
        "pack/__init__.py": "",
        "pack/a.py": "from . import b\nfrom .sub.c import x",
        "pack/b.py": "",
        "pack/sub/__init__.py": "from .. import d",
        "pack/sub/c.py": "x = 1",
        "pack/d.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = reach(lib)
    assert found == {"app", "pack", "pack.a", "pack.b", "pack.sub", "pack.sub.c", "pack.d"}


def test_a_star_takes_a_whole_package(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    for name in ("__init__", "a", "b"):
        (tmp_path / f"pack/{name}.py").touch()
    assert reach(Library([tmp_path], BUILTIN), "pack.*") == {"pack", "pack.a", "pack.b"}


def test_a_compiled_module_wins_over_a_source_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "fast.py").write_text("import gone")
    (tmp_path / "fast.cpython-313-aarch64-linux-gnu.so").touch()
    assert (
        closure(Library([tmp_path], BUILTIN), ["fast"], frozenset(), scan)["fast"].suffix == ".so"
    )


def test_a_literal_import_module_call_counts(tmp_path: Path) -> None:
    lib = library(
        tmp_path, app="import importlib\nimportlib.import_module('late')\n", late="", importlib=""
    )
    assert "late" in reach(lib)
