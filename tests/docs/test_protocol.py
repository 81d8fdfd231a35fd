"""Every row of the table of what passes names the tests that hold it, and they exist."""

import ast
import re
from functools import cache

import pytest

from tests.live.running import ROOT

TABLE = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "gateway/transport/PROTOCOL.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ")
]
HEAD, ROWS = TABLE[0], TABLE[1:]


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    found = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(name for name in found if name.startswith("test_"))


@pytest.mark.parametrize("row", ROWS, ids=[row[0][:40] for row in ROWS])
def test_a_row_says_what_becomes_of_it_in_every_combination_and_which_tests_hold_it(row: list[str]) -> None:
    assert len(row) == len(HEAD) == 6
    assert all(row)
    named = re.findall(r"`([^`]+)::([^`]+)`", row[-1])
    assert named
    for path, name in named:
        assert name in names_in(path), f"{path} has no {name}"
