"""One database as the gateway sees it: the tools `query` and `schema`, and one for each declared statement."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from connectors.rest.reading import INCOMPLETE
from connectors.sql.config import SqlConfig, Statement
from connectors.sql.database import Column, Database
from connectors.sql.reading import Reading
from connectors.sql.rows import ROWS_SCHEMA, WRITTEN_SCHEMA, Limits
from connectors.sql.wording import MOST_CHARACTERS
from gateway.connector import Definitions, Effect, Rejected, ToolCall, ToolsOnly, ToolTraits, dump, plain

__all__ = ["SqlUpstream"]

_MOST_COLUMNS: Final = 5000
_QUERY: Final[Mapping[str, Any]] = {
    "name": "query",
    "description": "Read the database with one SQL statement: SELECT, WITH, VALUES or EXPLAIN, without comments. "
    "Write values as :name and give them in `parameters`. The tool `schema` tells the tables and columns.",
    "inputSchema": {
        "type": "object",
        "properties": {
            "sql": {"type": "string", "minLength": 1, "maxLength": MOST_CHARACTERS},
            "parameters": {"type": "object", "description": "The value of each :name in the statement."},
        },
        "required": ["sql"],
        "additionalProperties": False,
    },
    "outputSchema": ROWS_SCHEMA,
}
_TABLE: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "kind": {"type": "string"},
        "columns": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "type": {"type": "string"},
                    "nullable": {"type": "boolean"},
                    "primary_key": {"type": "boolean"},
                },
                "required": ["name", "type", "nullable", "primary_key"],
            },
        },
    },
    "required": ["name", "kind", "columns"],
}
_SCHEMA: Final[Mapping[str, Any]] = {
    "name": "schema",
    "description": "List the tables and views of the database with their columns, or those of one table.",
    "inputSchema": {
        "type": "object",
        "properties": {"table": {"type": "string", "description": "Only this table; all when left out."}},
        "additionalProperties": False,
    },
    "outputSchema": {
        "type": "object",
        "properties": {
            "tables": {"type": "array", "items": _TABLE},
            "incomplete": {"type": "boolean"},
            "reason": {"type": "string"},
        },
        "required": ["tables", "incomplete"],
    },
}
_READ_TRAITS: Final = ToolTraits(Effect.READ)


class SqlUpstream(ToolsOnly):
    """An `Upstream` over a `Database`."""

    def __init__(self, config: SqlConfig, database: Database) -> None:
        self._config = config
        self._database = database
        self._rules = config.rules()
        self._prepared = config.prepared()

    async def open(self) -> None:
        await self._database.open()

    async def close(self) -> None:
        await self._database.close()

    async def tools(self) -> Definitions:
        own = [_with_hints(_QUERY, _READ_TRAITS)] if self._config.query else []
        own.append(_with_hints(_SCHEMA, _READ_TRAITS))
        return own + [_definition(name, statement) for name, statement in self._config.statements.items()]

    def traits(self, tool: str) -> ToolTraits | None:
        statement = self._config.statements.get(tool)
        if statement is not None:
            return ToolTraits(statement.effect, statement.idempotent, statement.undo)
        return _READ_TRAITS if tool == "schema" or (tool == "query" and self._config.query) else None

    async def call(self, call: ToolCall) -> Mapping[str, Any]:
        value = await self._found(call)
        text = dump(value).decode()
        call.measure.add(len(text))
        result = {"content": [{"type": "text", "text": text}], "structuredContent": value}
        return {**result, "_meta": {INCOMPLETE: {"reason": value["reason"]}}} if value["incomplete"] else result

    async def _found(self, call: ToolCall) -> Mapping[str, Any]:
        limits = Limits(self._config.max_rows, self._config.max_bytes, min(self._config.timeout_s, call.timeout_s))
        if call.tool == "query" and self._config.query:
            return await self._query(call.arguments, limits)
        if call.tool == "schema":
            return await self._schema(call.arguments)
        statement = self._config.statements.get(call.tool)
        if statement is None:
            raise Rejected(f"This database has no tool {plain(call.tool, 80)!r}.")
        return await self._run(call.tool, statement, call.arguments, limits)

    async def _query(self, arguments: Mapping[str, Any], limits: Limits) -> Mapping[str, Any]:
        sql, values = arguments.get("sql"), arguments.get("parameters", {})
        if not isinstance(sql, str) or not isinstance(values, dict) or arguments.keys() - {"sql", "parameters"}:
            raise Rejected("`query` takes `sql`, a text, and `parameters`, an object.")
        reading = self._rules.check(sql)
        if unknown := values.keys() - set(reading.wording.parameters):
            raise Rejected(f"The statement has no parameter :{plain(min(unknown), 80)}.")
        return (await self._database.read(reading, values, limits)).shown()

    async def _run(
        self, name: str, statement: Statement, arguments: Mapping[str, Any], limits: Limits
    ) -> Mapping[str, Any]:
        if unknown := arguments.keys() - statement.parameters.keys():
            raise Rejected(f"{name} takes no argument {plain(min(unknown), 80)!r}.")
        values = {}
        for parameter, schema in statement.parameters.items():
            if parameter not in arguments and "default" not in schema:
                raise Rejected(f"{name} needs the argument {parameter!r}.")
            values[parameter] = arguments[parameter] if parameter in arguments else schema["default"]
        found = self._prepared[name]
        if isinstance(found, Reading):
            return (await self._database.read(found, values, limits)).shown()
        written = await self._database.write(found, values, limits)
        return {"affected": written.affected, **written.rows.shown()}

    async def _schema(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        found = await self._database.columns(_MOST_COLUMNS + 1)
        wanted = arguments.get("table")
        tables = [
            _table(list(columns))
            for table, columns in groupby(found[:_MOST_COLUMNS], lambda column: column.table)
            if wanted in (None, table)
        ]
        if wanted is not None and not tables:
            raise Rejected(f"There is no table {plain(wanted, 80)!r}; `schema` without arguments lists all.")
        if len(found) <= _MOST_COLUMNS:
            return {"tables": tables, "incomplete": False}
        return {"tables": tables, "incomplete": True, "reason": f"there are more than {_MOST_COLUMNS} columns"}


def _definition(name: str, statement: Statement) -> Mapping[str, Any]:
    accepts: dict[str, Any] = {
        "type": "object",
        "properties": dict(statement.parameters),
        "required": [name for name, schema in statement.parameters.items() if "default" not in schema],
        "additionalProperties": False,
    }
    told = {
        "name": name,
        "description": statement.description,
        "inputSchema": accepts,
        "outputSchema": ROWS_SCHEMA if statement.effect is Effect.READ else WRITTEN_SCHEMA,
    }
    return _with_hints(told, ToolTraits(statement.effect, statement.idempotent))


def _with_hints(definition: Mapping[str, Any], traits: ToolTraits) -> Mapping[str, Any]:
    hints = {
        "readOnlyHint": traits.effect is Effect.READ,
        "destructiveHint": traits.effect is Effect.IRREVERSIBLE,
        "idempotentHint": traits.idempotent or traits.effect is Effect.READ,
    }
    return {**definition, "annotations": hints}


def _table(columns: Sequence[Column]) -> Mapping[str, Any]:
    shown = [
        {"name": each.name, "type": each.type, "nullable": each.nullable, "primary_key": each.key} for each in columns
    ]
    return {"name": columns[0].table, "kind": columns[0].kind, "columns": shown}
