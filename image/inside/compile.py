"""Writes reproducible .pyc files; runs on the image's Python, so that it reads what it wrote.

Request: {"files": [[path, path in the image], ...]}. Answer: {"version": ..., "count": ...}.

Three things make the bytes the same on every build: the file name recorded is the one in the
image, the header carries a hash instead of a time (flag 1: and it is never compared, the source is
gone), and marshal version 2 writes no references, which depend on the compiling process.
"""

import _imp
import json
import marshal
import os
import sys
from importlib.util import MAGIC_NUMBER

UNCHECKED_HASH = (1).to_bytes(4, "little")
MARSHAL_VERSION = 2


def compile_one(path: str, name: str) -> None:
    """Put `x.pyc` in the place of `x.py`, where the import system takes it without a source."""
    with open(path, "rb") as file:
        source = file.read()
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    key = _imp.source_hash(int.from_bytes(MAGIC_NUMBER, "little"), source)
    with open(f"{path}c", "wb") as file:
        file.write(MAGIC_NUMBER + UNCHECKED_HASH + key + marshal.dumps(code, MARSHAL_VERSION))
    os.unlink(path)


def main() -> None:
    """Answer the request on standard input."""
    files = json.load(sys.stdin)["files"]
    for path, name in files:
        compile_one(path, name)
    json.dump({"version": sys.version, "count": len(files)}, sys.stdout)


main()
