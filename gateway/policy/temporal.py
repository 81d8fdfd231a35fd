"""Temporal clauses of Dogwood, lowered to `@prior` and plain Cedar (POLICY.md §2).

Dogwood is the superset of Cedar behind AgentCore's temporal policies (Apache-2.0, github.com/dogwood-policy/dogwood).
Of its clauses, those are accepted that a precondition expresses; any other is refused where it stands, never ignored.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from gateway.model.facts import PriorQuery, PriorScope
from gateway.model.problem import Problem
from gateway.policy.cedar import access, quoted, tested
from gateway.policy.prior import duration_ms, prior_text, step_name
from gateway.policy.source import PolicySource, Statement, Token, beyond_limits, split, tokens

__all__ = ["lowered", "read"]

_FORM: Final = (
    'accepted: `formerly within 15m Action::"tool"::response{ input.x: context.input.y, output.z: "literal" }`, '
    "several joined by &&, after `when temporal` in a permit or `unless temporal` in a forbid."
)
_CLAUSE_OF: Final = {"permit": "when", "forbid": "unless"}
_NAMESPACES: Final = frozenset({"Action", "Gateway::Action"})
_TOOL = re.compile(r'"([^\s,;:=\\"]+)"')
_UNITS: Final = frozenset("smhd")
_ENTRY: Final[Mapping[str, str]] = {
    "previous": "`previous` (the event right before)",
    "!": "a negation",
    "(": "a condition in brackets",
    "exists": "`exists`",
    "tp": "`tp` (a timepoint)",
    "count": "an aggregation (`count`)",
    "sum": "an aggregation (`sum`)",
}
_AFTER: Final[Mapping[str, str]] = {
    "since": "`since`",
    "{": "a second block of fields",
    "||": "`||`",
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), "a comparison"),
}
_TERM: Final[Mapping[str, str]] = {"*": "a wildcard", "_": "a wildcard", "[": "an array", "count": "an aggregation"}


_Field: TypeAlias = "tuple[list[str], str | tuple[str, ...], int]"
"""A path in the step, a literal or a path in the context, and where that is written."""


class _Refused(Exception):
    """What a clause says that no precondition expresses, and where."""

    def __init__(self, offset: int, what: str) -> None:
        super().__init__(what)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class _Edit:
    """Cedar in the place of what was written from `start` to `end`: pieces of text, each with where it comes from."""

    start: int
    end: int
    pieces: tuple[tuple[str, int], ...]


def read(source: PolicySource) -> tuple[list[Statement], list[Problem]]:
    """Cut a source into its statements, in Cedar; one beyond the limits, or not accepted, is a problem instead."""
    statements, problems = split(source)
    found: list[Statement] = []
    for statement in statements:
        try:
            cedar = _lowered(statement)
        except _Refused as refused:
            problems.append(statement.problem_at(refused.offset, "temporal", f"{refused} is not accepted here", _FORM))
            continue
        beyond = None if cedar is statement else beyond_limits(cedar, list(tokens(cedar.text)))
        if beyond is None:
            found.append(cedar)
        else:
            problems.append(beyond)
    return found, problems


def lowered(source: PolicySource) -> str:
    """Return a source that was read without problems as Cedar: its text, where it has no temporal clauses."""
    text = source.text
    for statement in reversed(read(source)[0]):
        if statement.written:
            end = statement.start + len(statement.written)
            text = text[: statement.start] + statement.text + text[end:]
    return text


def _lowered(statement: Statement) -> Statement:
    group = list(tokens(statement.text))
    clauses = list(_clauses(group))
    if not clauses:
        return statement
    effect = next((at for at in _outermost(group, _CLAUSE_OF) if group[at - 1].text != "@"), None)
    queries: dict[str, PriorQuery] = {}
    edits: list[_Edit] = []
    for at in clauses:
        keyword = group[at - 1]
        if effect is None or keyword.text != _CLAUSE_OF[group[effect].text]:
            where = "a macro (`def temporal`)" if keyword.text == "def" else f"`{keyword.text} temporal` in this policy"
            raise _Refused(keyword.start, where)
        clause = _Clause(group, at + 1)
        pieces = tuple(clause.conditions())
        queries |= clause.queries
        edits.append(_Edit(group[at].start, group[clause.at - 1].start + 1, pieces))
    for at in _outermost(group, {"prior"}):
        raise _Refused(group[at].start, "@prior beside a temporal clause")
    prior = f"@prior({quoted('; '.join(map(prior_text, queries.values())))})\n"
    start = group[effect or 0].start
    return _edited(statement, [_Edit(start, start, ((prior, edits[0].pieces[1][1]),)), *edits])


def _clauses(group: Sequence[Token]) -> Iterator[int]:
    """Yield where `temporal` makes a clause, or a macro, something other than Cedar's."""
    for at in _outermost(group, {"temporal"}):
        if at and group[at - 1].text in {"when", "unless", "def"}:
            yield at


def _outermost(group: Sequence[Token], words: frozenset[str] | set[str] | Mapping[str, str]) -> Iterator[int]:
    depth = 0
    for at, token in enumerate(group):
        if token.text in {"(", "[", "{"}:
            depth += 1
        elif token.text in {")", "]", "}"}:
            depth -= 1
        elif depth == 0 and token.text in words:
            yield at


def _edited(statement: Statement, edits: Sequence[_Edit]) -> Statement:
    written, text, done = statement.text, "", 0
    origins: list[tuple[int, int, bool]] = []
    for edit in edits:
        origins.append((len(text), done, True))
        text += written[done : edit.start]
        for piece, origin in edit.pieces:
            origins.append((len(text), origin, False))
            text += piece
        done = edit.end
    origins.append((len(text), done, True))
    return replace(statement, text=text + written[done:], written=written, origins=tuple(origins))


class _Clause:
    """Reads one clause from its `{` on; `at` is the next token, in the end the one after its `}`."""

    def __init__(self, group: Sequence[Token], at: int) -> None:
        self.at = at
        self.queries: dict[str, PriorQuery] = {}
        self._group = group

    def conditions(self) -> Iterator[tuple[str, int]]:
        """Yield the clause in Cedar, piece by piece, each with the offset of what it stands for."""
        yield "{", self._expect("{").start
        before = ""
        while True:
            first = self._peek()
            self._expect("formerly", _ENTRY)
            within = self._within()
            for condition, origin in self._step(within):
                yield f"{before}\n  {condition}", origin if origin >= 0 else first.start
                before = " &&"
            if self._peek().text != "&&":
                break
            self._take()
        yield "\n}", self._expect("}", _AFTER).start

    def _within(self) -> str:
        self._expect("within", {"Action": "`formerly` without `within`", "Gateway": "`formerly` without `within`"})
        amount, unit = self._take(), self._take()
        text = f"{amount.text.lstrip('0')}{unit.text}"
        try:
            duration_ms(text if unit.text in _UNITS else "")
        except ValueError:
            raise _Refused(amount.start, f"the window `{amount.text}{unit.text}`") from None
        return text

    def _step(self, within: str) -> Iterator[tuple[str, int]]:
        """Yield the conditions on one earlier step; those about the step as a whole come from its beginning: -1."""
        tool = self._tool()
        bindings, fields = self._fields()
        query = PriorQuery("step", tool, bindings, PriorScope.RUN)
        digest = hashlib.sha256(prior_text(query).encode()).hexdigest()[:6]
        query = replace(query, name=f"{step_name(tool)}_{digest}")
        self.queries[query.name] = query
        prior = f"context.prior.{query.name}"
        age = f"context.base.now.durationSince({prior}.at)"
        yield tested("context.prior", query.name), -1
        yield f'{prior}.status == "ok" && {prior}.by == principal', -1
        for path, wanted, origin in fields:
            here = wanted[1:] if isinstance(wanted, tuple) else ()
            value = wanted if isinstance(wanted, str) else access("context", ".".join(here))
            equality = f"{access(prior, '.'.join(path))} == {value}"
            yield " && ".join((*_present(prior, path), *_present("context", here), equality)), origin
        yield f'{age} >= duration("0s") && {age} <= duration({quoted(within)})', -1

    def _tool(self) -> str:
        """Read `Action::"tool"::response`."""
        first = self._peek()
        space: list[str] = []
        while self._peek().kind == "word":
            space.append(self._take().text)
            if self._peek().text != "::":
                break
            self._take()
        named = self._take()
        found = _TOOL.fullmatch(named.text)
        if named.kind != "string":
            raise _Refused(first.start, _ENTRY.get(first.text, f"`{first.text}` instead of an event"))
        if "::".join(space) not in _NAMESPACES:
            raise _Refused(first.start, f"the namespace `{'::'.join(space)}`")
        if found is None:
            raise _Refused(named.start, f"the tool name {named.text}")
        self._expect("::")
        kind = self._take()
        if kind.text != "response":
            raise _Refused(kind.start, f"the event kind `::{kind.text}`")
        return found[1]

    def _path(self) -> list[str]:
        """Read words with dots between them; none where there is no word."""
        names = [self._word()] if self._peek().kind == "word" else []
        while names and self._peek().text == ".":
            self._take()
            names.append(self._word())
        return names

    def _word(self) -> str:
        token = self._take()
        if token.kind != "word" or not token.text.isascii():
            raise _Refused(token.start, f"`{token.text}` (where a name is expected)")
        return token.text

    def _fields(self) -> tuple[tuple[tuple[str, str], ...], list[_Field]]:
        """Read `{ input.x: context.input.y, … }`: what finds the step, and what it must equal."""
        bindings: list[tuple[str, str]] = []
        fields: list[_Field] = []
        self._expect("{")
        while self._peek().text != "}":
            first = self._peek()
            path = self._path()
            self._expect(":")
            wanted = self._term()
            if path == ["callerPrincipal"] and wanted == "principal":
                pass  # every step is held to it
            elif path[:1] not in (["input"], ["output"]) or len(path) == 1:
                raise _Refused(first.start, f"the field `{'.'.join(path)}`")
            elif wanted == "principal":
                raise _Refused(first.start, "`principal` in this field")
            else:
                fields.append((path, wanted, first.start))
                if isinstance(wanted, tuple) and path[0] == "input":
                    bindings.append((".".join(path[1:]), ".".join(wanted[2:])))
            if self._peek().text == ",":
                self._take()
            elif self._peek().text != "}":
                raise _Refused(self._peek().start, f"`{self._peek().text}` after a field")
        self._take()
        return tuple(bindings), fields

    def _term(self) -> str | tuple[str, ...]:
        """Read a literal, as Cedar, or an argument of the call, as its path."""
        first = self._peek()
        if first.kind == "string" and "\\" in first.text:
            raise _Refused(first.start, f"the escape in {first.text}")
        if first.kind in {"string", "number"}:
            return self._take().text
        if first.text == "-" and self._ahead(1).kind == "number":
            return self._take().text + self._take().text
        if first.text == "decimal" and self._ahead(2).kind == "string":
            return "".join((self._take().text, self._expect("(").text, self._take().text, self._expect(")").text))
        path = self._path()
        if path in (["true"], ["false"], ["principal"]):
            return path[0]
        if path[:2] != ["context", "input"] or len(path) == 2:
            said = f"`{'.'.join(path) or first.text}` as a value"
            raise _Refused(first.start, _TERM.get(first.text, said))
        return tuple(path)

    def _ahead(self, count: int) -> Token:
        return self._group[min(self.at + count, len(self._group) - 1)]

    def _peek(self) -> Token:
        return self._ahead(0)

    def _take(self) -> Token:
        token = self._peek()
        if self.at >= len(self._group):
            raise _Refused(token.start, "a clause that is not closed")
        self.at += 1
        return token

    def _expect(self, text: str, known: Mapping[str, str] | None = None) -> Token:
        found = self._take()
        if found.text != text:
            said = f"`{found.text}` (where `{text}` is expected)"
            raise _Refused(found.start, (known or {}).get(found.text, said))
        return found


def _present(root: str, path: Sequence[str]) -> Iterator[str]:
    """Yield the tests that an attribute is there, below the first name of its path, which always is, but an output."""
    for depth in range(0 if path[:1] == ["output"] else 1, len(path)):
        yield tested(access(root, ".".join(path[:depth])) if depth else root, path[depth])
