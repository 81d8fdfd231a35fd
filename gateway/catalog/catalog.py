"""The catalog: one immutable picture of every tool, swapped whole."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from heapq import nlargest
from types import MappingProxyType
from typing import Any, Final

from gateway.catalog.config import EndpointSection, Names, PinMode, ToolRule, TraitsRule, Undo, rule_for
from gateway.catalog.declared import answers_of
from gateway.catalog.drift import changes
from gateway.catalog.lock import Lock, Pin
from gateway.catalog.lookups import lookup_of
from gateway.catalog.names import WIRE_NAME, canonical_name, wire_names
from gateway.catalog.screening import screen
from gateway.catalog.validation import Check, SchemaRefused, argument_checker, checker
from gateway.codec import dump
from gateway.model.errors import RequestFault
from gateway.model.tool import Effect, Tool, Traits, anything, unquoted

__all__ = ["NEW", "Catalog", "Declared", "Known", "Live", "pin_new", "why_held"]

_MAX_NAME: Final = 128
_MANY: Final = 64
_MIRRORS: Final = b'"x-mcp-header"'
NEW: Final = "nobody has approved it yet"


@dataclass(frozen=True, slots=True)
class Declared:
    """What a connector itself says of a tool (a plugin's decorator), in the catalog's words."""

    effect: Effect
    idempotent: bool = False
    undo: str = ""
    lookup: bool = False


@dataclass(frozen=True, slots=True)
class Live:
    """What a server answered when it was last asked: its definitions, and what its connector declares of them."""

    definitions: Sequence[Mapping[str, Any]]
    declared: Mapping[str, Declared] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Judged:
    """One answer, held against pins: each tool's name, its pin, and why it is in quarantine."""

    pins: Mapping[str, Pin]
    answer: Live
    held: Sequence[tuple[str, Pin, str]]


def pin_new(lock: Lock, live: Mapping[str, Live], rules: dict[str, ToolRule]) -> Lock:
    """Pin every tool of servers the lock has never seen (trust on first use), where no rule says `pin: locked`.

    A new tool of a *known* server is never pinned here: nobody gets it before a person approves (B9).
    """
    for server, answer in live.items():
        if server in lock.servers:
            continue
        pins: dict[str, Pin] = {}
        for definition in answer.definitions:
            name = str(definition.get("name"))
            locked = rule_for(rules, canonical_name(server, name)).pin is PinMode.LOCKED
            if not locked and not screen(definition) and name not in pins:
                declared = answer.declared.get(name)
                pins[name] = Pin.of(definition, effect=declared.effect if declared else None)
        lock = lock.with_server(server, pins)
    return lock


def why_held(pins: Mapping[str, Pin], definitions: Sequence[Mapping[str, Any]], tool: str) -> str:
    """Return why a tool must not be called now that its server answered these definitions, or an empty string.

    It is what agents may be told.
    """
    of_it = [definition for definition in definitions if definition.get("name") == tool]
    held = _held_against({tool: pins[tool]} if tool in pins else {}, of_it)
    return next((unquoted(why) for _, _, why in held if why), "")


class Catalog:
    """Every tool agents may name. Immutable: a change builds another."""

    def __init__(self, tools: Iterable[Tool], judged: Mapping[str, _Judged] = MappingProxyType({})) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._judged = judged
        self._by_wire = {tool.wire_name: tool for tool in self._tools.values()}
        self.holding = frozenset(tool.server for tool in self._tools.values() if tool.quarantined)
        """The servers of which some tool is in quarantine."""

    @cached_property
    def mirroring(self) -> frozenset[str]:
        """The tools that mirror arguments into headers (`x-mcp-header`): nearly always none."""
        return frozenset(tool.name for tool in self._tools.values() if _MIRRORS in dump(tool.input_schema))

    def known(self) -> "Known":
        """Return what need not be found out again to build the next one."""
        checks = {
            tool.digest: (tool.breaks_input, tool.breaks_output)
            for tool in self._tools.values()
            if tool.breaks_input is not anything
        }
        return Known(checks, self._judged)

    @classmethod
    def build(
        cls, lock: Lock, live: Mapping[str, Live], rules: dict[str, ToolRule], known: "Known | None" = None
    ) -> "Catalog":
        """Build from the pins, what the servers answered, and the operator's rules.

        A server that is missing from `live` has not answered: its pinned tools stay listed as last approved.
        """
        known = known or Known()
        judged: dict[str, _Judged] = {}
        found: list[tuple[str, str, Pin, str]] = []
        for server in sorted({*lock.servers, *live}):
            pins = lock.servers.get(server, {})
            answer = live.get(server)
            if answer is None:
                found.extend((server, name, pin, "") for name, pin in pins.items())
                continue
            judged[server] = known.judged(server, pins, answer)
            found.extend((server, *pinned) for pinned in judged[server].held)
        wires = wire_names(canonical_name(server, name) for server, name, _, _ in found)
        setting = _Setting(wires, rules, live, known)
        return cls((_tool(server, pin, quarantined, setting) for server, _, pin, quarantined in found), judged)

    @classmethod
    def pinned(
        cls, lock: Lock, live: Mapping[str, Live], rules: dict[str, ToolRule], known: "Known | None" = None
    ) -> "Catalog":
        """Build from the pins alone, whatever servers answer now: what policies are checked against.

        `live` only tells what connectors declare of their tools.
        """
        found = [(server, name, pin) for server, pins in sorted(lock.servers.items()) for name, pin in pins.items()]
        wires = wire_names(canonical_name(server, name) for server, name, _ in found)
        setting = _Setting(wires, rules, live, known or Known())
        return cls(_tool(server, pin, "", setting) for server, _, pin in found)

    def within(self, endpoint: EndpointSection, of_all: Set[str] = frozenset()) -> "Catalog":
        """Return the part of the catalog that a virtual endpoint shows, under the names it shows.

        The tools of the servers in `of_all` are part of every endpoint: what the gateway says of others names them.
        """
        everywhere = [tool for tool in self._tools.values() if tool.server in of_all]
        shown = [
            tool
            for tool in self._tools.values()
            if tool.server not in of_all
            and (not endpoint.servers or tool.server in endpoint.servers)
            and any(fnmatchcase(tool.name, pattern) for pattern in endpoint.tools)
        ]
        if endpoint.names is not Names.BARE:
            return Catalog([*shown, *everywhere])
        times = Counter(tool.upstream_name for tool in shown)
        taken = {tool.wire_name for tool in (*shown, *everywhere)}  # nobody gets calls that are meant for another
        renamed = [
            replace(tool, wire_name=tool.upstream_name)
            if times[tool.upstream_name] == 1
            and tool.upstream_name not in taken
            and WIRE_NAME.match(tool.upstream_name)
            else tool
            for tool in shown
        ]
        return Catalog([*renamed, *everywhere])

    def suspect(self) -> frozenset[str]:
        """Return the servers that offer something else than what was pinned, beside tools that are merely new."""
        return frozenset(tool.server for tool in self._tools.values() if tool.quarantined not in {"", NEW})

    def tools(self) -> list[Tool]:
        """Return every tool, quarantined ones too, by name."""
        return [self._tools[name] for name in sorted(self._tools)]

    def find(self, name: str) -> Tool | None:
        """Return a tool by canonical or wire name."""
        return self._by_wire.get(name) or self._tools.get(name)

    def resolve(
        self, name: str, otherwise: str = "List the tools again.", shown: Callable[[Tool], bool] = lambda _: True
    ) -> Tool:
        """Return the tool an agent named, canonical or wire.

        `otherwise` says how to find the right name, and `shown` whether a tool may be named to the agent.

        Raises:
            RequestFault: unknown_tool, or tool_quarantined with the reason.
        """
        tool = self.find(name)
        if tool is None:
            raise RequestFault(
                f"There is no tool {_shown(name)}.{self._suggestion(name, shown)} {otherwise}", code="unknown_tool"
            )
        if tool.quarantined:
            raise RequestFault(
                f"{tool.name} is quarantined: {tool.held_back}. "
                f"An operator must look: toolgate schema diff {tool.name}",
                code="tool_quarantined",
                detail=tool.quarantined,
            )
        return tool

    def _suggestion(self, name: str, shown: Callable[[Tool], bool]) -> str:
        from difflib import get_close_matches  # which a gateway whose agents make no mistakes never needs

        name = name[:128]
        known = self._tools if "." in name else self._by_wire
        near = nlargest(_MANY, known, key=lambda each: _alike(each, name))  # comparing all of a thousand takes long
        close = [each for each in get_close_matches(name, near) if shown(known[each])]
        return f" Did you mean {close[0]}?" if close else ""


def _alike(one: str, other: str) -> int:
    """Count the letters in which two names begin and end alike."""
    size = min(len(one), len(other))
    begin = next((at for at in range(size) if one[at] != other[at]), size)
    return begin + next((at for at in range(size - begin) if one[-1 - at] != other[-1 - at]), size - begin)


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 80 else name[:77] + "...")


def _held_against(pins: Mapping[str, Pin], live: Sequence[Mapping[str, Any]]) -> list[tuple[str, Pin, str]]:
    """Return (name, pin, why quarantined) for every pinned and every live tool of one server."""
    result: list[tuple[str, Pin, str]] = []
    seen: set[str] = set()
    for definition in live:
        name = definition.get("name")
        if not isinstance(name, str):
            continue
        if name in seen:
            result = [(n, p, "the server lists it twice" if n == name[:_MAX_NAME] else q) for n, p, q in result]
            continue
        seen.add(name)
        result.append((name[:_MAX_NAME], *_judged(pins.get(name), definition)))
    result.extend((name, pin, "the server no longer offers it") for name, pin in pins.items() if name not in seen)
    return result


def _judged(pin: Pin | None, definition: Mapping[str, Any]) -> tuple[Pin, str]:
    if hostile := screen(definition):
        safe = {"name": str(definition.get("name"))[:_MAX_NAME], "inputSchema": {"type": "object"}}
        return pin or Pin.of(safe), hostile
    fresh = Pin.of(definition)
    if pin is None:
        return fresh, NEW
    if pin.digest == fresh.digest:
        return pin, ""
    drifted = changes(pin.definition, definition)
    gravest = drifted[0] if drifted else None
    what = f"{gravest.path} {gravest.what}" if gravest else "its definition changed"
    return pin, f"its definition changed since it was pinned ({len(drifted)} change(s), first: {what})"


class Known:
    """What was found out already of pins and answers: that of a list of thousands takes seconds.

    `checks` are those of pinned schemas, by the digest of the pin.
    """

    def __init__(
        self,
        checks: Mapping[str, tuple[Check, Check]] = MappingProxyType({}),
        judged: Mapping[str, _Judged] = MappingProxyType({}),
    ) -> None:
        self._checks = dict(checks)
        self._judged = judged

    def checks(self, pin: Pin) -> tuple[Check, Check]:
        """Return what says what breaks the input and the output schema. Raises `SchemaRefused`."""
        found = self._checks.get(pin.digest)
        if found is None:
            output = pin.definition.get("outputSchema")
            found = argument_checker(_input_schema(pin)), checker(output) if output is not None else anything
            self._checks[pin.digest] = found
        return found

    def judged(self, server: str, pins: Mapping[str, Pin], answer: Live) -> _Judged:
        """Return what a server answered, held against its pins."""
        was = self._judged.get(server)
        if was is not None and was.pins is pins and was.answer is answer:
            return was
        return _Judged(pins, answer, _held_against(pins, answer.definitions))


@dataclass(frozen=True, slots=True)
class _Setting:
    """What a tool is made with, beside its pin."""

    wires: Mapping[str, str]
    rules: dict[str, ToolRule]
    live: Mapping[str, Live]
    known: Known


def _tool(server: str, pin: Pin, quarantined: str, setting: _Setting) -> Tool:
    live = setting.live.get(server)
    upstream_name = str(pin.definition["name"])
    name = canonical_name(server, upstream_name)
    rule = rule_for(setting.rules, name)
    declared = live.declared.get(upstream_name) if live else None
    trusted = _is_trusted(pin, rule.traits)
    try:
        breaks_input, breaks_output = setting.known.checks(pin)
    except SchemaRefused as error:
        breaks_input = breaks_output = anything  # never reached: a quarantined tool is not called
        quarantined = quarantined or f"its schema is refused: {error}"
    return Tool(
        name=name,
        wire_name=setting.wires[name],
        server=server,
        upstream_name=upstream_name,
        version=pin.version,
        digest=pin.digest,
        effect=rule.effect or pin.effect,
        definition=pin.definition,
        input_schema=_input_schema(pin),
        output_schema=pin.definition.get("outputSchema"),
        breaks_input=breaks_input,
        breaks_output=breaks_output,
        idempotent=rule.idempotent if rule.idempotent is not None else bool(declared and declared.idempotent),
        idempotency_key=tuple(rule.idempotency_key or ()),
        deadline_s=rule.deadline or 60.0,
        attempt_s=rule.attempt,
        hedge=rule.hedge,
        annotations_trusted=trusted,
        effect_hinted=rule.effect is None and declared is None and not trusted,
        traits=_traits(rule.traits),
        quarantined=quarantined,
        groups=tuple(rule.groups or ()),
        accept_irreversible=bool(rule.accept_irreversible),
        **_undo(server, rule.undo if rule.undo is not None else declared.undo if declared else ""),
        answers=answers_of(rule),
        once_per_run=rule.once_per_run or False,
        refuses_secrets=rule.secrets == "refuse",
        drafts=rule.mode == "draft",
        executors=tuple(rule.executors or ()),
        lookup=lookup_of(rule.lookup, declared=bool(declared and declared.lookup)),
    )


def _input_schema(pin: Pin) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = pin.definition.get("inputSchema") or {"type": "object"}
    return schema


def _is_trusted(pin: Pin, said: TraitsRule | None) -> bool:
    """Tell whether somebody vouches for a server's hints: the operator, or whoever reviewed the pin."""
    word = said.annotations if said is not None else None
    return pin.reviewed if word is None else word == "trusted"


def _traits(said: TraitsRule | None) -> Traits:
    if said is None:
        return Traits()
    return Traits(said.destructive, said.open_world, said.reversible, said.sink, said.classification or 0)


def _undo(server: str, said: str | Undo) -> dict[str, Any]:
    """Return what a tool says of its compensation; a connector may leave its own server's name out."""
    if isinstance(said, Undo):
        return {"undo": said.tool, "undo_arguments": tuple(said.arguments.items())}
    return {"undo": said if "." in said or not said else canonical_name(server, said)}
