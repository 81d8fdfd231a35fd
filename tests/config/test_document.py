"""The YAML we take, and where it says that something is wrong."""

from pathlib import Path
from typing import Any

import pytest

from gateway.config.document import parse, read
from gateway.config.problem import ConfigError
from gateway.model.problem import Problem


def problems(text: str | bytes) -> list[tuple[int, int, str]]:
    with pytest.raises(ConfigError) as caught:
        parse(text if isinstance(text, bytes) else text.encode(), "g.yaml")
    return [(problem.line, problem.column, problem.code) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("on", "on"),
        ("yes", "yes"),
        ("n", "n"),
        ("~", None),
        ("null", None),
        ("", None),
        ("12", 12),
        ("012", 12),
        ("0o17", 15),
        ("0xff", 255),
        ("-3", -3),
        ("1_000", "1_000"),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".inf", ".inf"),
        ("12:30", "12:30"),
        ("2026-11-21", "2026-11-21"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("!!str 12", "12"),
        ("!!int '12'", 12),
        ("{a: [1, {b: 2}]}", {"a": [1, {"b": 2}]}),
        ('{"a": 1, "b": "x"}', {"a": 1, "b": "x"}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("\ufeffa: 1", {"a": 1}),
    ],
)
def test_a_scalar_is_what_yaml_1_2_says_it_is(text: str, value: Any) -> None:
    found = parse(text.encode(), "g.yaml").data
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", [(3, 1, "duplicate_key")]),
        ("a:\n  x: 1\n  x: 2\nb: {y: 1, y: 2}\n", [(3, 3, "duplicate_key"), (4, 11, "duplicate_key")]),
        ("a: [1\n", [(2, 1, "syntax")]),
        ("a: b: c\n", [(1, 5, "syntax")]),
        ("\ta: 1\n", [(1, 1, "syntax")]),
        ("a: *x\n", [(1, 4, "syntax")]),
        ("a: !!python/object:os.system x\n", [(1, 4, "syntax")]),
        ("1: a\n", [(1, 1, "syntax")]),
        ("[a]: 1\n", [(1, 1, "syntax")]),
        ("x: &x {a: 1}\ny: {<<: *x}\n", [(2, 5, "syntax")]),
        ("a: !!bool yes\n", [(1, 4, "wrong_value")]),
        ("a: !!int yes\n", [(1, 4, "wrong_value")]),
        ("a: 1e999\n", [(1, 4, "wrong_value")]),
        ("a: 1\n---\nb: 2\n", [(2, 1, "syntax")]),
        ("a: \x07\n", [(0, 0, "syntax")]),
        (b"a: 1\nb: \xff\n", [(2, 1, "syntax")]),
        ("[" * 5000, [(0, 0, "too_large")]),
        ("[" * 60 + "]" * 60, [(1, 52, "too_large")]),
        ("a: &x [*x]\n", [(1, 4, "too_large")]),
    ],
)
def test_what_we_do_not_take_is_refused_in_its_place(text: str | bytes, expected: list[tuple[int, int, str]]) -> None:
    assert problems(text) == expected


def test_a_small_file_cannot_unfold_into_a_huge_one() -> None:
    layers = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    layers += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert [code for _, _, code in problems("\n".join(layers))] == ["too_large"]


def test_each_part_knows_its_place() -> None:
    document = parse(b"a:\n  b: [1, 22]\n  c:\n    d: x\n", "g.yaml")
    assert document.place(("a", "b"), key=True) == (2, 3)
    assert document.place(("a", "b")) == (2, 6)
    assert document.place(("a", "b", 1)) == (2, 10)
    assert document.place(("a", "c")) == (3, 3)
    assert document.place(("a", "c", "missing")) == (3, 3)
    assert document.place(("nowhere",)) == (1, 1)


def test_a_file_that_is_not_there_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unreadable") as caught:
        read(tmp_path / "gateway.yaml")
    assert str(tmp_path) in caught.value.problems[0].fix


def test_a_file_too_large_to_be_a_configuration_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_bytes(b"#" * 1_000_001)
    with pytest.raises(ConfigError, match="too_large"):
        read(tmp_path / "gateway.yaml")


def test_problems_are_told_in_order_of_place_with_their_hints() -> None:
    error = ConfigError([Problem("f", 9, 1, "b", "second"), Problem("f", 2, 3, "a", "first", "do this")])
    assert str(error) == "f:2:3: a: first\n  fix: do this\nf:9:1: b: second"
    assert str(Problem("f", 0, 0, "a", "whole")) == "f: a: whole"
