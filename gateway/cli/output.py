"""What every command prints, and how it ends: 0 ok, 1 failed, 2 usage, 3 denied or pending."""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import typer

from gateway.model.problem import ProblemsError

__all__ = [
    "DENIED",
    "FAILED",
    "USAGE",
    "Refused",
    "carried_out",
    "cell",
    "done",
    "emit",
    "emit_json",
    "fail_with",
    "fail_with_problems",
    "latest_only",
    "more",
    "plain",
    "say",
    "table",
    "warn",
]

FAILED: Final = 1
USAGE: Final = 2
DENIED: Final = 3
_CONTROL: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
)
_BREAKS: Final = {0x09: "\\u0009", 0x0A: "\\u000a"}


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a command did not do what was asked: a stable code, what and why, and what fixes it."""

    code: str
    message: str
    hint: str = ""


def plain(text: str) -> str:
    """Return `text` without what could steer a terminal or hide what it says: such characters show as escapes."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def cell(text: str) -> str:
    """Return `text` as part of one line: plain, and without line breaks and tabs of its own."""
    return plain(text).translate(_BREAKS)


def say(text: str = "") -> None:
    """Print a line for a person."""
    typer.echo(plain(text))


def done(text: str) -> None:
    """Print that a step was carried out."""
    typer.echo(f"  {typer.style('✓', fg=typer.colors.GREEN)} {plain(text)}")


def carried_out(data: Mapping[str, Any], *texts: str, as_json: bool) -> None:
    """Print what was carried out: `data` as JSON for a program, or a line for each text for a person."""
    if as_json:
        emit({**data, "message": texts[0]}, (), as_json=True)
        return
    for text in texts:
        done(text)


def more(text: str) -> None:
    """Say on stderr, where it is part of no list, that a list is not all of it, and how to have the rest."""
    typer.echo(f"{typer.style('more', fg=typer.colors.CYAN)}: {plain(text)}", err=True)


def latest_only(rows: Sequence[object], limit: int) -> None:
    """Say of a list of the latest that there may be more, where it is as long as was asked for."""
    if len(rows) >= limit:
        more(f"these are the latest {limit}; there may be others: --limit {10 * limit}")


def emit(data: Any, lines: Iterable[str], *, as_json: bool) -> None:
    """Print `data` as JSON for a program, or `lines` for a person."""
    if as_json:
        emit_json(data, indent=2)
        return
    for line in lines:
        say(line)


def emit_json(data: Any, *, indent: int | None = None) -> None:
    """Print `data` as JSON, on one line where there is no `indent`: none of its characters steers a terminal."""
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    typer.echo(_CONTROL.sub(lambda found: json.dumps(found[0])[1:-1], text))  # the same data


def table(rows: Iterable[Mapping[str, str]]) -> list[str]:
    """Return the rows as aligned lines under their headings; nothing for no rows."""
    listed = [{key: cell(value) for key, value in row.items()} for row in rows]
    if not listed:
        return []
    listed.insert(0, {key: key.upper() for key in listed[0]})
    widths = {key: max(len(row[key]) for row in listed) for key in listed[0]}
    return ["  ".join(row[key].ljust(widths[key]) for key in widths).rstrip() for row in listed]


def fail_with(refused: Refused, exit_code: int = FAILED, *, as_json: bool = False) -> NoReturn:
    """Say on stderr why the command failed, and exit. Raises `SystemExit`."""
    if as_json:
        typer.echo(json.dumps({"error": refused.code, "message": refused.message, "hint": refused.hint}))
    else:
        _complain(f"{refused.code}: {refused.message}", refused.hint)
    raise SystemExit(exit_code)


def fail_with_problems(error: ProblemsError, *, as_json: bool = False) -> NoReturn:
    """Say on stderr everything that is wrong with what a person wrote, and exit. Raises `SystemExit`."""
    if as_json:
        fields = ("file", "line", "column", "code", "message", "fix")
        problems = [{name: getattr(problem, name) for name in fields} for problem in error.problems]
        typer.echo(json.dumps({"ok": False, "problems": problems}, indent=2, ensure_ascii=False))
    else:
        for problem in error.problems:
            _complain(f"{problem.place}: {problem.code}: {problem.message}", problem.fix)
    raise SystemExit(FAILED)


def warn(text: str, hint: str = "") -> None:
    """Say on stderr what is wrong although the command goes on."""
    _complain(text, hint, typer.style("warning", fg=typer.colors.YELLOW, bold=True))


def _complain(text: str, hint: str, marker: str = "") -> None:
    marker = marker or typer.style("error", fg=typer.colors.RED, bold=True)
    typer.echo(f"{marker}: {plain(text)}", file=sys.stderr)
    if hint:
        typer.echo(f"  {typer.style('hint', fg=typer.colors.CYAN)}: {plain(hint)}", file=sys.stderr)
