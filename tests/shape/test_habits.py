"""Habits that a reviewer should never have to ask for."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.shape.source import files, python_files, relative, tree

SOURCE = ("gateway", "connectors", "examples")
BROAD_EXCEPTS = {
    "gateway/pipeline/runner.py",
    "gateway/transport/endpoint.py",
    "gateway/connector/pool.py",
}
MUTABLE_CALLS = {"dict", "list", "set", "defaultdict", "deque", "OrderedDict", "Counter", "WeakKeyDictionary"}


def test_a_broad_except_stands_in_three_places_only() -> None:
    found = {relative(path) for path in python_files(*SOURCE) for node in ast.walk(tree(path)) if _is_broad(node)}
    assert found - BROAD_EXCEPTS == set()
    assert len(BROAD_EXCEPTS) == 3


def _is_broad(node: ast.AST) -> bool:
    if isinstance(node, ast.ExceptHandler):
        if isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None:
            return False  # it cleans up and lets the fault go on
        return node.type is None or _names(node.type) & {"Exception", "BaseException"} != set()
    is_suppress = isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress")
    return is_suppress and any(_names(argument) & {"Exception", "BaseException"} for argument in node.args)  # type: ignore[attr-defined]  # narrowed by is_suppress


def _names(node: ast.AST) -> set[str]:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def test_nothing_is_patched_or_mocked() -> None:
    patched = [
        f"{relative(path)}:{number} {line.strip()}"
        for path in python_files()
        if path != Path(__file__)
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if re.search(r"unittest\.mock|from unittest import mock|monkeypatch\.(set|del)(attr|item)|mocker\.", line)
    ]
    assert patched == []


TASK_LOCAL = {"gateway/connector/scales.py": "what a plugin asks for in tasks of its own is known by nothing else"}


def test_a_module_keeps_no_mutable_state() -> None:
    kept = [f"{relative(p)}:{line}" for p in python_files("gateway", "connectors") for line in _mutable_lines(p)]
    assert kept == []


def _mutable_lines(path: Path) -> Iterator[int]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Global) or (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith("ContextVar")
            and relative(path) not in TASK_LOCAL
        ):
            yield node.lineno
    for statement in tree(path).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) != "__all__":
            yield from [statement.lineno] if _is_mutable(statement.value) else []
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            promised = ast.unparse(statement.annotation).startswith(("Final", "Mapping", "Sequence", "typing.Final"))
            yield from [statement.lineno] if _is_mutable(statement.value) and not promised else []


def _is_mutable(value: ast.expr) -> bool:
    if isinstance(value, ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp):
        return True
    return isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[-1] in MUTABLE_CALLS


SUPPRESSION = re.compile(r"#\s*(noqa|type:\s*ignore)\b")
REASONED = re.compile(r"#\s*(noqa:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*|type:\s*ignore\[[\w,-]+\])\s*(#|-|–|:|;)?\s*\w+")


def test_a_suppression_names_its_rule_and_its_reason() -> None:
    bare = [
        f"{relative(path)}:{number} {line.strip()}"
        for path in python_files(*SOURCE)
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if re.search(r"#\s*(noqa|type:\s*ignore)\b", line)
        and not re.search(
            r"#\s*(noqa:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*|type:\s*ignore\[[\w,-]+\])\s*(#|-|–|:|;)?\s*\w+", line
        )
    ]
    assert bare == []


def test_nothing_is_left_to_do_later_in_a_comment() -> None:
    words = re.compile(r"#.*\b(TODO|FIXME|XXX|HACK|Phase \d)\b")
    left = [
        f"{relative(path)}:{number}"
        for path in python_files()
        if path != Path(__file__)
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if words.search(line)
    ]
    assert left == []


def test_no_file_names_somebodys_machine() -> None:
    place = re.compile(rb"/(?:root|work|Users|home)/[A-Za-z0-9_.]")
    named = [
        f"{relative(path)}: {match.group(0).decode()}"
        for path in files()
        if (match := place.search(path.read_bytes())) is not None
    ]
    assert named == []
