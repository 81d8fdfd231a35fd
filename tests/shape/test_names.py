"""Words: modules are named for what they hold, and what they share is declared."""

import ast
import re
from pathlib import Path

from tests.shape.source import ROOT, files, python_files, relative, tree

FORBIDDEN = {"manager", "service", "handler", "helper", "helpers", "util", "utils", "common", "base", "core", "misc"}


def test_no_module_or_class_has_a_name_that_says_nothing() -> None:
    empty = [relative(p) for p in python_files("gateway", "connectors", "examples") if _words(p) & FORBIDDEN]
    classes = [
        f"{relative(path)}:{node.lineno} {node.name}"
        for path in python_files("gateway", "connectors")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef) and re.search(r"(Manager|Service|Handler|Helper|Utils?)$", node.name)
    ]
    assert empty + classes == []


def test_the_top_level_holds_what_it_is_meant_to_hold() -> None:
    top = {path.relative_to(ROOT).parts[0] for path in files()}
    assert top == {
        *(".ci", ".gitignore", "CHANGELOG.md", "LICENSE", "Makefile", "README.md"),
        *("connectors", "examples", "gateway", "policies", "pyproject.toml", "requirements.lock", "tests"),
    }


def _words(path: Path) -> set[str]:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return {word for part in parts for word in part.split("_")}


def test_every_module_says_what_it_is_and_declares_its_public_names() -> None:
    silent = [relative(p) for p in python_files("gateway", "connectors") if not ast.get_docstring(tree(p)) and _body(p)]
    undeclared = [relative(p) for p in python_files("gateway", "connectors") if _defines(p) and _declared(p) is None]
    assert silent == []
    assert undeclared == []


def test_only_declared_names_are_imported_from_another_module() -> None:
    borrowed = [
        f"{relative(path)}:{node.lineno} {name.name} from {node.module}"
        for path in python_files("gateway", "connectors")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in {"gateway", "connectors"}
        for name in node.names
        if not _offers(node.module, name.name)
    ]
    assert borrowed == []


def _offers(module: str, name: str) -> bool:
    place = ROOT.joinpath(*module.split("."))
    if (place / name).is_dir() or (place / f"{name}.py").is_file():
        return True
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    declared = _declared(path) if path.is_file() else set()
    return name in declared if declared is not None else not name.startswith("_") or name == "__version__"


def _body(path: Path) -> bool:
    return bool(tree(path).body)


def _defines(path: Path) -> bool:
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return any(isinstance(node, kinds) and not node.name.startswith("_") for node in tree(path).body)


def _declared(path: Path) -> set[str] | None:
    for node in tree(path).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return set(ast.literal_eval(node.value))
    return None
