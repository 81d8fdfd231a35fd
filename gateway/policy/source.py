"""Policy texts, cut into statements that know their place and are small enough for the engine.

Cedar's parser recurses: deep texts crash the process (POLICY.md §5). So a text is measured here, in linear time, before
Cedar sees a byte of it, and each statement then goes to Cedar alone, which gives every error its file and line.
"""

import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.model.problem import Problem
from gateway.policy.problem import PolicyLoadError

__all__ = ["PolicySource", "Statement", "Token", "beyond_limits", "sources_under", "split", "tokens"]

MAX_BYTES: Final = 64 * 1024
MAX_BRACKETS: Final = 60
MAX_TERMS: Final = 90
MAX_NESTING: Final = 200
"""An upper bound of the syntax tree's depth; the engine refuses 100 itself and crashes at some 2,000."""

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n\r]*)|(?P<string>"[^"\\]*(?:\\.[^"\\]*)*")|(?P<word>[^\W\d]\w*)|(?P<number>\d+)"""
    r"""|(?P<sign>&&|\|\||==|!=|<=|>=|::|.)""",
    re.DOTALL,
)
_OPEN, _CLOSE = frozenset("([{"), frozenset(")]}")
_LEFT_DEEP = frozenset({"&&", "||", "+", "-", "*", "if"})
_ENDS_CHAIN = frozenset({"==", "!=", "<", "<=", ">", ">=", "in", "has", "like", "is", "then", "else", "!"})
_ENDS_ITEM = frozenset({",", ";", "when", "unless", "@"})


@dataclass(frozen=True, slots=True)
class PolicySource:
    """A named Cedar text: a file, or what a section of the configuration compiles to."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of policy text; `start` is its offset."""

    kind: str
    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Statement:
    """One policy. `line` and `column` count from 1; `start` is its offset in the source.

    `text` is Cedar. Where that is not what a person wrote, `written` is, and `origins` say where each piece of `text`
    comes from: (its offset in `text`, its offset in `written`, whether it stands there word for word), in order.
    """

    file: str
    line: int
    column: int
    text: str
    start: int = 0
    written: str = ""
    origins: tuple[tuple[int, int, bool], ...] = ()

    def problem(self, code: str, message: str, fix: str = "", *, at: str = "") -> Problem:
        """Return a problem at the first token that reads `at`, or at the start of the policy."""
        found = next((token.start for token in tokens(self.text) if token.text == at), None) if at else None
        return self.problem_at(0 if found is None else self._origin(found), code, message, fix)

    def problem_at(self, offset: int, code: str, message: str, fix: str) -> Problem:
        """Return a problem at an offset in what was written."""
        before = (self.written or self.text)[:offset]
        line = self.line + before.count("\n")
        column = self.column + offset if line == self.line else offset - before.rfind("\n")
        return Problem(self.file, line, column, code, message, fix)

    def _origin(self, offset: int) -> int:
        pieces = (piece for piece in reversed(self.origins) if piece[0] <= offset)
        start, origin, same = next(pieces, (0, 0, True))
        return origin + (offset - start if same else 0)


def sources_under(path: Path) -> tuple[PolicySource, ...]:
    """Return the policy file at `path`, or every `*.cedar` file below it in order of name.

    Raises:
        PolicyLoadError: there is nothing there, a file is not UTF-8 text, or it is none: reading a pipe may never end.
    """
    files = sorted(path.rglob("*.cedar")) if path.is_dir() else [path]
    found: list[PolicySource] = []
    problems: list[Problem] = []
    for file in files:
        try:
            if not stat.S_ISREG(file.stat().st_mode):
                fix = "move it away, or write the policies into a file."
                problems.append(Problem(str(file), 0, 0, "not_a_file", "a folder, pipe, device or socket", fix))
                continue
            found.append(PolicySource(str(file), file.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror or "unreadable" if isinstance(error, OSError) else "not UTF-8 text"
            fix = "create the file or correct the path under `policies:`."
            problems.append(Problem(str(file), 0, 0, "unreadable", reason, fix))
    if problems:
        raise PolicyLoadError(problems)
    return tuple(found)


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of a Cedar text, without white space and comments."""
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind != "space":
            yield Token(kind, match.group(), match.start())


def split(source: PolicySource) -> tuple[list[Statement], list[Problem]]:
    """Cut a source into its statements; a source or statement beyond the limits is a problem and is left out."""
    if len(source.text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        message = f"longer than {MAX_BYTES // 1024} KB"
        return [], [Problem(source.name, 0, 0, "too_long", message, "split it into several files.")]
    statements: list[Statement] = []
    problems: list[Problem] = []
    for group in _groups(source.text):
        first, last = group[0], group[-1]
        before = source.text[: first.start]
        statement = Statement(
            source.name,
            before.count("\n") + 1,
            first.start - before.rfind("\n"),
            source.text[first.start : last.start + len(last.text)],
            first.start,
        )
        problem = beyond_limits(statement, group)
        if problem is None:
            statements.append(statement)
        else:
            problems.append(problem)
    return statements, problems


def _groups(text: str) -> Iterator[list[Token]]:
    """Yield the tokens of each statement, `;` included; a last one without `;` too, for Cedar to complain about."""
    group: list[Token] = []
    depth = 0
    for token in tokens(text):
        group.append(token)
        if token.text in _OPEN:
            depth += 1
        elif token.text in _CLOSE:
            depth -= 1
        elif token.text == ";" and depth <= 0:
            yield group
            group, depth = [], 0
    if group:
        yield group


def beyond_limits(statement: Statement, group: Sequence[Token]) -> Problem | None:
    """Return what is wrong with a statement, given its tokens, that Cedar must not be shown; None where nothing is."""
    if any(token.text == '"' for token in group):
        return statement.problem("syntax", "a string is not closed", 'add the missing `"`.', at='"')
    brackets, nesting = _measure(group)
    terms = sum(token.text in {"&&", "||"} for token in group)
    split_up = "split the policy, or drop brackets."
    if brackets > MAX_BRACKETS:
        return statement.problem("too_deep", f"brackets nest deeper than {MAX_BRACKETS}", split_up)
    if terms > MAX_TERMS:
        return statement.problem("too_many_terms", f"more than {MAX_TERMS} terms joined by && and ||", split_up)
    if nesting > MAX_NESTING:
        return statement.problem("too_deep", f"expressions nest deeper than {MAX_NESTING}", split_up)
    return None


@dataclass(slots=True)
class _Level:
    """Depth inside a pair of brackets: the running chain `a.b.c`, the operators around it, the deepest item yet."""

    chain: int = 0
    item: int = 0
    operators: int = 0
    deepest: int = 0

    def end_chain(self) -> None:
        self.item, self.chain = max(self.item, self.chain), 0

    def end_item(self) -> None:
        self.end_chain()
        self.deepest = max(self.deepest, self.item + self.operators)
        self.item = self.operators = 0


def _measure(group: Sequence[Token]) -> tuple[int, int]:
    """Return the deepest bracket and an upper bound of the depth of the syntax tree."""
    levels = [_Level()]
    brackets = 0
    for token in group:
        text, top = token.text, levels[-1]
        if text in _OPEN:
            levels.append(_Level())
            brackets = max(brackets, len(levels) - 1)
        elif text in _CLOSE and len(levels) > 1:
            top.end_item()
            levels.pop()
            levels[-1].chain += top.deepest + 1
        elif text == ".":
            top.chain += 1
        elif text in _LEFT_DEEP:
            top.end_chain()
            top.operators += 1
        elif text in _ENDS_CHAIN:
            top.end_chain()
        elif text in _ENDS_ITEM:
            top.end_item()
    for level in levels:
        level.end_item()
    return brackets, max(level.deepest for level in levels)
