"""Is this statement a read? Decided from its syntax tree and from its words, which must agree."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from connectors.sql.functions import POSTGRES_FUNCTIONS, SQLITE_FUNCTIONS
from connectors.sql.wording import Wording, read_wording
from gateway.connector import Rejected, plain

if TYPE_CHECKING:
    from sqlglot import Expr, Token

__all__ = ["Dialect", "Reading", "ReadingRules", "allowed_functions"]

Dialect = Literal["postgres", "sqlite"]
_FIRST: Final = frozenset({"select", "with", "values", "("})
_WORDS: Final = """
    all and any array as between by case cube distinct else except exists filter from group having ilike in intersect is
    join lateral like limit materialized not offset on or over rollup row select sets similar some then to union using
    values when where with within
"""
_GRAMMAR: Final = frozenset(_WORDS.split())
"""Words that stand before a parenthesis without being called."""
_SYSTEM: Final = {"postgres": "pg_", "sqlite": "pragma_"}


def allowed_functions(dialect: Dialect, more: Collection[str] = ()) -> frozenset[str]:
    """Return the functions that a statement may call: those that only compute, and the operator's own."""
    known = POSTGRES_FUNCTIONS if dialect == "postgres" else SQLITE_FUNCTIONS
    return known | {name.lower() for name in more}


@dataclass(frozen=True, slots=True)
class Reading:
    """A statement that was found to only read. `explains` asks for its plan instead of its rows."""

    wording: Wording
    explains: bool = False


class ReadingRules:
    """Lets reads through and refuses everything else, with the reason."""

    def __init__(self, dialect: Dialect, functions: Collection[str] = ()) -> None:
        self._dialect: Dialect = dialect
        self._functions = allowed_functions(dialect, functions)

    def check(self, sql: str) -> Reading:
        """Return what was found.

        Raises:
            Rejected: it is not one plain SELECT, VALUES or WITH (or EXPLAIN of one), it writes or locks, it calls a
                function that is not known to only compute, or it names the database's own internals.
        """
        wording = read_wording(sql, brackets=self._dialect == "postgres")
        wording, explains = _without_explain(wording)
        first = next((text.lower() for kind, text in wording.pieces if kind != "space"), "")
        if first not in _FIRST:
            raise Rejected(f"Only SELECT, WITH, VALUES and EXPLAIN are allowed, not {plain(first, 40).upper()!r}.")
        tree, tokens = _parsed(wording, self._dialect)
        _only_queries(tree)
        self._only_known_words(tokens, _alias_places(tree))
        return Reading(wording, explains)

    def _only_known_words(self, tokens: "Sequence[Token]", aliases: Collection[int]) -> None:
        for place, token in enumerate(tokens):
            quoted = token.token_type.name == "IDENTIFIER"
            name = token.text if quoted else token.text.lower()
            called = place + 1 < len(tokens) and tokens[place + 1].token_type.name == "L_PAREN"
            is_word = quoted or name[:1].isalpha() or name[:1] == "_"
            if token.token_type.name == "STRING" or not is_word:
                continue
            if called and token.start not in aliases and (quoted or name.split()[-1] not in _GRAMMAR):
                self._only_known_function(_qualified(tokens, place, name))
            elif name.lower().startswith(_SYSTEM[self._dialect]) and name != "pg_catalog":
                raise Rejected(f"{plain(name, 80)} belongs to the database itself. The tool `schema` lists the tables.")

    def _only_known_function(self, name: str) -> None:
        if name not in self._functions:
            raise Rejected(
                f"The function {plain(name, 80)!r} may not be called here: it is not known to only compute. "
                "An operator can add it under `functions`."
            )


def _without_explain(wording: Wording) -> tuple[Wording, bool]:
    words = [place for place, (kind, _) in enumerate(wording.pieces) if kind != "space"]
    said = [wording.pieces[place][1].lower() for place in words[:3]]
    if said[:1] != ["explain"]:
        return wording, False
    skip = 3 if said == ["explain", "query", "plan"] else 1
    return Wording(wording.pieces[words[skip] :] if len(words) > skip else ()), True


def _parsed(wording: Wording, dialect: Dialect) -> "tuple[Expr, Sequence[Token]]":
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        tokens = sqlglot.tokenize(wording.sql, read=dialect)
        trees = sqlglot.parse(wording.sql, read=dialect)
    except (SqlglotError, RecursionError) as error:
        raise Rejected(f"The statement cannot be read as SQL{_place(error)}.") from None
    if len(trees) != 1 or trees[0] is None:
        raise Rejected("One statement at a time.")
    if tuple(token.text for token in tokens if token.token_type.name == "STRING") != wording.strings:
        raise Rejected("The statement's quotes can be read in more than one way: bind the values as parameters.")
    return trees[0], tokens


def _place(error: Exception) -> str:
    found = getattr(error, "errors", None) or [{}]
    line, column = found[0].get("line"), found[0].get("col")
    return f" (line {line}, column {column})" if line else ""


def _only_queries(tree: "Expr") -> None:
    from sqlglot import exp

    queries = (exp.Select, exp.SetOperation, exp.Values, exp.Subquery)
    if not isinstance(tree, queries):
        raise Rejected("Only SELECT, WITH, VALUES and EXPLAIN are allowed.")
    for node in tree.walk():
        if isinstance(node, exp.CTE) and not isinstance(node.this, queries):
            raise Rejected("A WITH clause may only hold queries: this one writes.")
        if isinstance(node, exp.Into):
            raise Rejected("SELECT INTO makes a table: leave INTO out.")
        if isinstance(node, exp.Lock):
            raise Rejected("FOR UPDATE and FOR SHARE lock rows: leave them out.")
        if isinstance(node, exp.DML | exp.DDL | exp.Command) and not isinstance(node, queries):
            raise Rejected("The statement does more than read.")


def _alias_places(tree: "Expr") -> frozenset[int]:
    """Return where names stand that take a list of columns: `AS t(a, b)` looks like a call and is none."""
    from sqlglot import exp

    aliases = (alias.this for alias in tree.find_all(exp.TableAlias) if alias.columns)
    return frozenset(name.meta["start"] for name in aliases if isinstance(name, exp.Identifier))


def _qualified(tokens: "Sequence[Token]", place: int, name: str) -> str:
    """Return the function's name with everything that is written before it, but for `pg_catalog.`."""
    parts = [name]
    while place >= 2 and tokens[place - 1].token_type.name == "DOT":
        place -= 2
        parts.insert(0, tokens[place].text.lower())
    return ".".join(parts[1:] if parts[0] == "pg_catalog" else parts)
