"""Tools declared in Python: from a decorated method to an MCP tool definition."""

import inspect
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from gateway.connector.upstream import ToolTraits
from gateway.model.tool import Effect

__all__ = ["DeclaredTool", "declared_tools", "tool"]

_MARK: Final = "__toolgate_tool__"
_Method = TypeVar("_Method", bound=Callable[..., Coroutine[Any, Any, Any]])


@dataclass(frozen=True, slots=True)
class DeclaredTool:
    """One tool of a plugin. `wrapped` says that the return value is sent as `{"result": value}`: it is no object.

    `method` and `lookup` are names of methods; a tool without the latter cannot be looked up.
    """

    name: str
    method: str
    traits: ToolTraits
    definition: Mapping[str, Any] = field(repr=False)
    parameters: type[BaseModel] = field(repr=False)
    returns: TypeAdapter[Any] | None = field(default=None, repr=False)
    wrapped: bool = False
    lookup: str = ""


def tool(
    *, effect: Effect | None = None, idempotent: bool = False, undo: str = "", lookup: str = "", name: str = ""
) -> Callable[[_Method], _Method]:
    """Declare an async method as a tool: `async def pay(self, call: ToolCall, payment_id: str) -> Receipt`.

    `effect` is required. `idempotent` promises that repeating the call with the same `call.idempotency_key` has one
    effect. `undo` names the tool that takes the effect back. `lookup` names the async method that takes the same
    parameters and returns what an earlier call with the same `call.idempotency_key` returned, or raises `NotDone`. The
    docstring is the tool's description; parameters after `call` become its input schema; an annotated return type its
    output schema.

    Raises:
        TypeError: no effect is given, the method is not async, or its parameters have no types.
    """

    def mark(method: _Method) -> _Method:
        if effect is None:
            raise TypeError(
                f"@tool on {method.__qualname__}: say effect=Effect.READ, Effect.WRITE or Effect.IRREVERSIBLE"
            )
        if not inspect.iscoroutinefunction(method):
            raise TypeError(f"@tool on {method.__qualname__}: a tool is an `async def`")
        traits = ToolTraits(Effect(effect), idempotent, undo, lookup=bool(lookup))
        method.__dict__[_MARK] = (name or method.__name__, traits, lookup)
        return method

    return mark


def declared_tools(owner: type) -> Mapping[str, DeclaredTool]:
    """Return the tools that `owner` and its bases declare, by name.

    Raises:
        TypeError: two tools share a name, or a parameter or return type has no JSON form.
    """
    found: dict[str, DeclaredTool] = {}
    for attribute in dict.fromkeys(name for ancestor in reversed(owner.__mro__) for name in vars(ancestor)):
        method = inspect.getattr_static(owner, attribute)
        mark = getattr(method, _MARK, None)
        if mark is None:
            continue
        name, traits, lookup = mark
        if name in found:
            raise TypeError(f"{owner.__name__}: two tools are called {name!r}")
        if lookup and not inspect.iscoroutinefunction(inspect.getattr_static(owner, lookup, None)):
            raise TypeError(f"{owner.__name__}: the lookup of {name!r} is an `async def` called {lookup!r}")
        found[name] = replace(_declare(method, name, traits), lookup=lookup)
    return found


def _declare(method: Callable[..., Any], name: str, traits: ToolTraits) -> DeclaredTool:
    where = method.__qualname__
    try:
        hints = get_type_hints(method, include_extras=True)
        parameters = _parameters(method, where, hints)
        accepts = _without_titles(parameters.model_json_schema())
        returns, output, wrapped = _returns(hints)
    except (NameError, PydanticSchemaGenerationError, PydanticUserError) as error:
        raise TypeError(f"@tool on {where}: {error}") from None
    definition: dict[str, Any] = {
        "name": name,
        "description": inspect.cleandoc(method.__doc__ or ""),
        "inputSchema": accepts,
    }
    if output is not None:
        definition["outputSchema"] = output
    definition["annotations"] = {
        "readOnlyHint": traits.effect is Effect.READ,
        "destructiveHint": traits.effect is Effect.IRREVERSIBLE,
        "idempotentHint": traits.idempotent or traits.effect is Effect.READ,
    }
    return DeclaredTool(name, method.__name__, traits, definition, parameters, returns, wrapped)


def _parameters(method: Callable[..., Any], where: str, hints: Mapping[str, Any]) -> type[BaseModel]:
    _, *own = inspect.signature(method).parameters.values()
    if not own:
        raise TypeError(f"@tool on {where}: the first parameter after self is `call: ToolCall`")
    fields: dict[str, Any] = {}
    for number, parameter in enumerate(own[1:]):
        if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            raise TypeError(f"@tool on {where}: every parameter needs a name of its own, not *{parameter.name}")
        if parameter.name not in hints:
            raise TypeError(f"@tool on {where}: give {parameter.name!r} a type")
        default = ... if parameter.default is parameter.empty else parameter.default
        # An alias, because a parameter may be called what a pydantic field may not: `copy`, `schema`, `_id`.
        fields[f"argument_{number}"] = (hints[parameter.name], Field(default, alias=parameter.name))
    return create_model(where.replace(".", "_"), __config__=ConfigDict(extra="forbid"), **fields)


def _returns(hints: Mapping[str, Any]) -> tuple[TypeAdapter[Any] | None, Mapping[str, Any] | None, bool]:
    kind = hints.get("return", Any)
    if kind is Any:
        return None, None, False
    if kind is type(None):
        return None, None, True
    adapter = TypeAdapter(kind)
    schema = _without_titles(adapter.json_schema(mode="serialization"))
    if _resolved(schema).get("type") == "object":
        return adapter, _object_at_root(schema), False
    wrapped = {"type": "object", "properties": {"result": schema}, "required": ["result"]}
    if "$defs" in schema:
        wrapped["$defs"] = schema.pop("$defs")
    return adapter, wrapped, True


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    named: Mapping[str, Any] = schema["$defs"][reference.rpartition("/")[2]]
    return named


def _object_at_root(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A recursive model is a bare `$ref`; MCP wants `type: object` at the root."""
    return schema if "type" in schema else {"type": "object", **schema}


def _without_titles(schema: Any, *, names: bool = False) -> Any:
    """Drop pydantic's generated titles, which tell a model nothing; a property called `title` stays."""
    if isinstance(schema, dict):
        return {
            key: _without_titles(value, names=key in {"properties", "$defs"} and not names)
            for key, value in schema.items()
            if names or key != "title" or not isinstance(value, str)
        }
    if isinstance(schema, list):
        return [_without_titles(item) for item in schema]
    return schema
