"""The stops of ARCHITECTURE.md §12: never raised for one file."""

import ast

from tests.shape.source import functions, python_files, relative

LINES_PER_FILE = 500
LINES_PER_FUNCTION = 60
PARAMETERS = 5


def test_no_file_is_longer_than_500_lines() -> None:
    long = {relative(p): n for p in python_files() if (n := len(p.read_text("utf-8").splitlines())) > LINES_PER_FILE}
    assert long == {}


def test_no_function_is_longer_than_60_lines() -> None:
    long = [
        f"{relative(path)}:{f.lineno} {f.name} ({f.end_lineno - f.lineno + 1} lines)"
        for path in python_files()
        for f in functions(path)
        if f.end_lineno is not None and f.end_lineno - f.lineno + 1 > LINES_PER_FUNCTION
    ]
    assert long == []


def test_no_function_takes_more_than_5_parameters() -> None:
    wide = [
        f"{relative(path)}:{f.lineno} {f.name}"
        for path in python_files("gateway", "connectors", "examples")
        for f in functions(path)
        if _parameters(f.args, command=relative(path).startswith("gateway/cli/")) > PARAMETERS
    ]
    assert wide == []


def _parameters(args: ast.arguments, *, command: bool) -> int:
    """Count parameters; those of a command that have a default are its options, and belong to its user."""
    named = [*args.posonlyargs, *args.args, *args.kwonlyargs]
    if command:
        return len(named) - len(args.defaults)
    return len(named) - (bool(named) and named[0].arg in {"self", "cls"})
