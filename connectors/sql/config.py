"""What an `mcpServers` entry with `connector: sql` may say."""

import re
from collections.abc import Mapping
from typing import Any, Final, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from connectors.sql.reading import Dialect, Reading, ReadingRules
from connectors.sql.wording import Wording, read_wording
from gateway.connector import ConnectorConfig, Effect, Rejected, Secret

__all__ = ["OWN_TOOLS", "SqlConfig", "Statement"]

OWN_TOOLS: Final = frozenset({"query", "schema"})
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_PARAMETER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_MIB: Final = 1024 * 1024


class Statement(BaseModel):
    """One statement that is a tool of its own: an agent gives its parameters, never its text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sql: str = Field(min_length=1, description="One SQL statement; values are written `:name`.")
    effect: Effect = Field(description="`read` statements keep the rules of `query`; others may write.")
    description: str = Field("", description="What the tool tells an agent.")
    parameters: Mapping[str, Mapping[str, Any]] = Field(
        default_factory=dict, description="A JSON Schema for each `:name`; one with a `default` may be left out."
    )
    idempotent: bool = Field(False, description="Whether repeating it with the same parameters changes nothing more.")
    undo: str = Field("", description="The tool that takes its effect back.")

    @field_validator("parameters")
    @classmethod
    def _have_names(cls, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        for name in parameters:
            if not _PARAMETER.fullmatch(name):
                raise ValueError(f"{name!r} is not a parameter's name: letters, digits and _")
        return parameters


class SqlConfig(ConnectorConfig):
    """A database."""

    url: str = Field(
        description="`sqlite:///file.db`, `sqlite:////absolute/file.db` or `postgresql://user@host/database`. "
        "A PostgreSQL server on another machine must show a valid certificate, unless the URL says `sslmode`."
    )
    password: Secret | None = Field(None, description="The PostgreSQL password.")
    query: bool = Field(True, description="Whether agents may write reads of their own (the tool `query`).")
    statements: Mapping[str, Statement] = Field(default_factory=dict, description="Tools of their own, by name.")
    functions: tuple[str, ...] = Field(
        (), description="Functions that reads may call besides the built-in ones that only compute."
    )
    max_rows: int = Field(1000, ge=1, le=100_000, description="The most rows in a result; more are left out, and said.")
    max_bytes: int = Field(_MIB, ge=1024, le=64 * _MIB, description="The largest result, and the largest value.")
    timeout_s: float = Field(30.0, gt=0, le=3600, description="How long one statement may take, in seconds.")
    connections: int = Field(
        4, ge=1, le=100, description="The most connections to PostgreSQL for reads, and for writes."
    )
    allow_superuser: bool = Field(
        False, description="Whether a PostgreSQL role may be used that can reach the server's files and programs."
    )

    @field_validator("url")
    @classmethod
    def _is_a_database(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme == "sqlite":
            if parts.netloc or parts.query or len(parts.path) < 2:
                raise ValueError("write sqlite:///file.db, or sqlite:////absolute/file.db")
        elif parts.scheme not in {"postgresql", "postgres"}:
            raise ValueError("write sqlite:///file.db or postgresql://user@host/database")
        if parts.password is not None or "password=" in parts.query:
            raise ValueError("the password goes into `password`, not into the URL")
        return url

    @field_validator("statements")
    @classmethod
    def _are_tools(cls, statements: Mapping[str, Statement]) -> Mapping[str, Statement]:
        for name in statements:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a tool's name: a letter, then letters, digits, _ and -")
            if name in OWN_TOOLS:
                raise ValueError(f"there is a tool called {name!r} already")
        return statements

    @model_validator(mode="after")
    def _statements_are_what_they_say(self) -> Self:
        self.prepared()
        return self

    @property
    def dialect(self) -> Dialect:
        """Whose SQL is spoken."""
        return "sqlite" if self.url.startswith("sqlite:") else "postgres"

    def rules(self) -> ReadingRules:
        """Return what decides whether a statement is a read."""
        return ReadingRules(self.dialect, self.functions)

    def prepared(self) -> Mapping[str, Reading | Wording]:
        """Return what each declared statement was found to be.

        Raises:
            ValueError: one is no plain statement, is no read though it says so, or does not declare what it uses.
        """
        rules, found = self.rules(), {}
        for name, statement in self.statements.items():
            try:
                found[name] = _prepared(statement, rules, brackets=self.dialect == "postgres")
            except Rejected as refusal:
                raise ValueError(f"statement {name}: {refusal.message}") from None
            _declares_its_parameters(name, statement, found[name])
        return found


def _prepared(statement: Statement, rules: ReadingRules, *, brackets: bool) -> Reading | Wording:
    if statement.effect is Effect.READ:
        return rules.check(statement.sql)
    return read_wording(statement.sql, brackets=brackets)


def _declares_its_parameters(name: str, statement: Statement, found: Reading | Wording) -> None:
    written = set((found.wording if isinstance(found, Reading) else found).parameters)
    if missing := sorted(statement.parameters.keys() - written):
        raise ValueError(f"statement {name} declares the parameter {missing[0]!r} but does not use :{missing[0]}")
    if missing := sorted(written - statement.parameters.keys()):
        raise ValueError(f"statement {name} uses :{missing[0]} but does not declare it under `parameters`")
