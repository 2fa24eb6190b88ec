"""Lists what each module imports; runs on the image's Python, because only it knows its syntax.

Request: {"files": [path, ...]}. Answer: {"builtin": [...], "imports": {path: [[module, names,
level, is_guarded, line], ...]}}. A guarded import is one whose failure the code expects.
"""

import ast
import json
import os
import sys

GUARDS = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException", "AttributeError"}


def is_type_checking(test: ast.expr) -> bool:
    """Whether a condition is `TYPE_CHECKING`, whose body never runs."""
    return getattr(test, "id", getattr(test, "attr", "")) == "TYPE_CHECKING"


def verdict(test: ast.expr) -> bool | None:
    """What a condition on the Python version or the system comes to, or None for any other."""
    names = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
    attributes = {node.attr for node in ast.walk(test) if isinstance(node, ast.Attribute)}
    is_static = names <= {"sys", "os"} and attributes <= {"version_info", "platform", "name"}
    if not (names and is_static):
        return None
    code = compile(ast.Expression(test), "<condition>", "eval")
    return bool(eval(code, {"__builtins__": {}, "sys": sys, "os": os}))  # noqa: S307


def catches(handler: ast.ExceptHandler) -> bool:
    """Whether an except clause takes a failed import."""
    kind = handler.type
    if kind is None:
        return True
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(getattr(k, "id", "") in GUARDS for k in kinds)


def literal_import(call: ast.Call) -> str:
    """The name in `import_module("x")` and `__import__("x")`, or empty."""
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    if name in {"import_module", "__import__"} and call.args:
        first = call.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            return first.value
    return ""


def walk(node: ast.AST, is_guarded: bool, found: list[list[object]]) -> None:
    """Collect the imports below a node."""
    if isinstance(node, ast.Import):
        found += [[alias.name, [], 0, is_guarded, node.lineno] for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [alias.name for alias in node.names]
        found.append([node.module or "", names, node.level, is_guarded, node.lineno])
    elif isinstance(node, ast.Call) and (name := literal_import(node)):
        found.append([name, [], 0, is_guarded or name.startswith("."), node.lineno])
    if isinstance(node, ast.Try):
        body_guarded = is_guarded or any(catches(h) for h in node.handlers)
        for statement in node.body:
            walk(statement, body_guarded, found)
        for rest in (*node.handlers, *node.orelse, *node.finalbody):
            walk(rest, is_guarded, found)
    elif isinstance(node, ast.If) and is_type_checking(node.test):
        for statement in node.orelse:
            walk(statement, is_guarded, found)
    elif isinstance(node, ast.If) and (is_true := verdict(node.test)) is not None:
        for statement in node.body if is_true else node.orelse:
            walk(statement, is_guarded, found)
    else:
        for child in ast.iter_child_nodes(node):
            walk(child, is_guarded, found)


def scan(path: str) -> list[list[object]]:
    """All imports of one file."""
    found: list[list[object]] = []
    with open(path, "rb") as source:
        walk(ast.parse(source.read(), path), False, found)
    return found


def main() -> None:
    """Answer the request on standard input."""
    request = json.load(sys.stdin)
    imports = {path: scan(path) for path in request["files"]}
    json.dump({"builtin": list(sys.builtin_module_names), "imports": imports}, sys.stdout)


main()
