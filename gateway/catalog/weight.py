"""How much work a schema can make of a value: references let a few lines ask for more checks than ever end.

A validator checks every subschema that applies to a place of the value, once for every way that leads to it. Without
references there is one way each. With them there can be billions, and a few more at every level of the value. And one
check may be many: a list of alternatives, names or patterns for each of a million items, a pattern that counts.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urldefrag, urljoin

from gateway.catalog.costs import Costs, costs

__all__ = ["MOST_CHECKS", "Endless", "Weigh", "weigher"]

_WIDEST: Final = 128
"""Checks of one place that need not be counted: a message has room for some million places."""

_MOST_STATES: Final = 2000
_MOST_KEPT: Final = 500_000
"""Subschemas that apply to each place, of all places: half a second, and some 50 MB."""

MOST_CHECKS: Final = 1_000_000
"""How many checks one value may take: below a tenth of a second."""

Weigh = Callable[[Any], int]
"""Returns how many checks a value takes at most; it stops counting above MOST_CHECKS."""

_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_HERE_ONE: Final = ("not", "if", "then", "else")
_HERE_LIST: Final = ("allOf", "anyOf", "oneOf")
_HERE_NAMED: Final = ("dependentSchemas", "dependencies")
_EVERY_MEMBER: Final = ("additionalProperties", "unevaluatedProperties", "propertyNames")
_EVERY_ITEM: Final = ("items", "additionalItems", "unevaluatedItems", "contains")
_BUNDLED: Final = "json-schema.org/"
_ROOM: Final = 50_000
"""Subschemas at places, and places below places, that are remembered of one value: some 10 MB."""

_Ways = Mapping[int, int]
"""Subschemas, by number, and how many ways lead to each."""


class Endless(ValueError):
    """The schema asks for more checks than can be made, whatever the value."""


def weigher(schema: Mapping[str, Any]) -> Weigh | None:
    """Return what weighs values against `schema`, or None where no value that fits into a message is too heavy.

    Raises:
        Endless: any value is too heavy, or a reference cannot be followed.
    """
    refers = _refers(schema)
    if not refers and _plain_cost(schema) <= _WIDEST:
        return None
    graph = _Graph(schema)
    light = not refers or graph.is_light()
    return None if light and graph.is_narrow() else graph.weigh


def _plain_cost(schema: Mapping[str, Any]) -> int:
    """Return more than all checks of a schema without references take at any one place, however they are arranged."""
    total, stack = 0, [schema]
    while stack and total <= _WIDEST:
        node = stack.pop()
        if isinstance(node, Mapping):
            cost = costs(node)
            total += cost.least + _WIDEST * cost.unique
            total += sum(len(node[word]) for word in _HERE_LIST if isinstance(node.get(word), list))
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
    return total


def _refers(value: Any) -> bool:
    stack = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, Mapping):
            if not node.keys().isdisjoint(_REFERENCES):
                return True
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
    return False


class _Places:
    """Where in a schema its references lead."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._roots: dict[str, Any] = {"": schema}
        self._anchors: dict[tuple[str, str], Any] = {}
        self._dynamic: dict[str, list[Any]] = {}
        self._within: dict[int, str] = {}
        self._walk(schema)

    def led_to(self, node: Mapping[str, Any]) -> Iterator[Any]:
        """Yield the subschemas that a node's references lead to. Raises `Endless` for one that cannot be followed."""
        for word in _REFERENCES:
            reference = node.get(word)
            if not isinstance(reference, str):
                continue
            found = self._follow(self._within.get(id(node), ""), reference)
            if found is not None:
                yield found
            if word != "$ref":
                yield from self._dynamic.get(reference.rpartition("#")[2], [])

    def _walk(self, schema: Any) -> None:
        stack: list[tuple[str, Any]] = [("", schema)]
        while stack:
            here, node = stack.pop()
            if isinstance(node, list):
                stack.extend((here, each) for each in node)
            if not isinstance(node, Mapping):
                continue
            if isinstance(identity := node.get("$id", node.get("id")), str):
                here = urldefrag(urljoin(here, identity)).url
                self._roots.setdefault(here, node)
            self._within[id(node)] = here
            for word in ("$anchor", "$dynamicAnchor"):
                if isinstance(anchor := node.get(word), str):
                    self._anchors.setdefault((here, anchor), node)
                    self._dynamic.setdefault(anchor, []).append(node)
            stack.extend((here, each) for each in node.values())

    def _follow(self, here: str, reference: str) -> Any:
        url, fragment = urldefrag(urljoin(here, reference) if not reference.startswith("#") else here + reference)
        if _BUNDLED in url and url not in self._roots:
            return None  # the drafts themselves, which the validator has
        fragment = unquote(fragment)
        node = self._roots.get(url)
        if fragment and not fragment.startswith("/"):
            node = self._anchors.get((url, fragment))
        for part in fragment.split("/")[1:] if fragment.startswith("/") else ():
            node = _step(node, part.replace("~1", "/").replace("~0", "~"))
        if not isinstance(node, Mapping | bool):
            raise Endless(f"a reference cannot be followed: {reference[:100]}")
        return node


def _step(node: Any, part: str) -> Any:
    if isinstance(node, Mapping):
        return node.get(part)
    if isinstance(node, list) and part.isdigit() and int(part) < len(node):
        return node[int(part)]
    return None


@dataclass(frozen=True, slots=True)
class _Place:
    """What is checked at places that are alike.

    `checks` are those of a text or a number, where they do not depend on which; `below` is what was found out of the
    members that are `named`, of the others (None), and of items up to the `longest` list.
    """

    ways: _Ways
    checks: int | None
    named: frozenset[str]
    longest: int
    below: dict[str | int | None, "_Place | None"]


class _Alike:
    """The places of one value, as far as there is room: what is checked at those that are alike is found out once."""

    def __init__(self, graph: "_Graph") -> None:
        self._graph = graph
        self._known: dict[frozenset[tuple[int, int]], _Place] = {}
        self._room = _ROOM

    def of(self, ways: _Ways) -> _Place:
        """Return the place where this is checked."""
        state = frozenset(ways.items())
        found = self._known.get(state)
        if found is None:
            found = self._graph.place(ways)
            if self._room > 0:
                self._room -= len(ways)
                self._known[state] = found
        return found

    def members(self, here: Any, place: _Place) -> Iterator[tuple[Any, _Place | None]]:
        """Yield what lies right below a place, each with its own; None where nothing is checked."""
        known = place.below if self._room > 0 else dict(place.below)
        if isinstance(here, dict):
            for name, each in here.items():
                alike = name if name in place.named else None
                yield each, known[alike] if alike in known else self._below(place, alike, name, known)
        elif isinstance(here, list):
            for index, each in enumerate(here):
                at = min(index, place.longest)
                yield each, known[at] if at in known else self._below(place, at, index, known)

    def _below(
        self, place: _Place, alike: str | int | None, step: str | int, known: dict[str | int | None, _Place | None]
    ) -> _Place | None:
        ways = self._graph.reached(place.ways, step)
        self._room -= 1
        known[alike] = found = self.of(ways) if ways else None
        return found


class _Graph:
    """The subschemas that are checked, by number: which apply to the same place, and which to a place below.

    Raises:
        Endless: any value is too heavy, or a reference cannot be followed.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._places = _Places(schema)
        self._numbers: dict[int, int] = {}
        self._nodes: list[Mapping[str, Any]] = []
        self._costs: list[Costs] = []
        self._ways: dict[int, _Ways] = {}
        self._kept = 0
        self._number(schema)
        for node in self._nodes:  # grows while it is gone through
            for each in (*self._here(node), *_below(node)):
                self._number(each)
        for number in range(len(self._nodes)):
            self._expanded(number, set())

    def is_light(self) -> bool:
        """Tell whether no value is too heavy."""
        return self._unfolded(0, {}, set()) <= MOST_CHECKS

    def is_narrow(self) -> bool:
        """Tell whether few checks are made of every single place, whatever the value."""
        if any(cost.unique for cost in self._costs) or self._is_wide(self._expanded(0, set())):
            return False
        stack, seen = [self._expanded(0, set())], set[frozenset[tuple[int, int]]]()
        while stack:
            ways = stack.pop()
            for step in (*self._named(ways), "", *range(self._longest(ways) + 1)):
                below = self.reached(ways, step)
                state = frozenset(below.items())
                if state not in seen:
                    seen.add(state)
                    stack.append(below)
                if len(seen) > _MOST_STATES or self._is_wide(below):
                    return False
        return True

    def _is_wide(self, ways: _Ways) -> bool:
        return sum(times * self._costs[number].least for number, times in ways.items()) > _WIDEST

    def weigh(self, value: Any) -> int:
        """Return how many checks `value` takes at most."""
        alike = _Alike(self)
        total, places = 0, [(value, alike.of(self._expanded(0, set())))]
        while places and total <= MOST_CHECKS:
            here, place = places.pop()
            total += self.made(here, place.ways)
            for each, below in alike.members(here, place):
                if below is None:
                    continue
                if isinstance(each, dict | list):
                    places.append((each, below))
                else:
                    total += self.made(each, below.ways) if below.checks is None else below.checks
                if total > MOST_CHECKS:
                    break
        return total

    def made(self, here: Any, ways: _Ways) -> int:
        """Return how many checks are made right at a place."""
        return sum(times * self._costs[number].of(here) for number, times in ways.items())

    def place(self, ways: _Ways) -> "_Place":
        """Return a place where this is checked."""
        counts = any(self._costs[number].counted for number in ways)
        checks = None if counts else sum(times * self._costs[number].least for number, times in ways.items())
        return _Place(ways, checks, self._named(ways), self._longest(ways), {})

    def _named(self, ways: _Ways) -> frozenset[str]:
        found = (self._nodes[number].get("properties") for number in ways)
        return frozenset().union(*(each for each in found if isinstance(each, Mapping)))

    def _longest(self, ways: _Ways) -> int:
        found = (self._nodes[number].get(word) for number in ways for word in ("prefixItems", "items"))
        return max((len(each) for each in found if isinstance(each, list)), default=0)

    def _number(self, node: Any) -> int | None:
        """Return a subschema's number; None for one that checks nothing."""
        if not isinstance(node, Mapping):
            return None
        if id(node) not in self._numbers:
            self._numbers[id(node)] = len(self._nodes)
            self._nodes.append(node)
            self._costs.append(costs(node))
        return self._numbers[id(node)]

    def _here(self, node: Mapping[str, Any]) -> Iterator[Any]:
        yield from self._places.led_to(node)
        yield from (node[word] for word in _HERE_ONE if word in node)
        for word in _HERE_LIST:
            yield from node[word] if isinstance(node.get(word), list) else ()
        for word in _HERE_NAMED:
            yield from node[word].values() if isinstance(node.get(word), Mapping) else ()

    def _unfolded(self, number: int, seen: dict[int, int], above: set[int]) -> int:
        """Return how many checks there can be of any value, above MOST_CHECKS if it can be any number."""
        if number in above:
            return MOST_CHECKS + 1
        if number not in seen:
            above.add(number)
            node, total = self._nodes[number], 1
            for each in (*self._here(node), *_below(node)):
                below = self._number(each)
                total += 0 if below is None else self._unfolded(below, seen, above)
            above.discard(number)
            seen[number] = min(total, MOST_CHECKS + 1)
        return seen[number]

    def _expanded(self, number: int, above: set[int]) -> _Ways:
        """Return all that is checked at a place where this subschema is."""
        if number in above:
            raise Endless("a reference leads back to where it is, without a step into the value")
        known = self._ways.get(number)
        if known is None:
            found = Counter({number: 1})
            for each in self._here(self._nodes[number]):
                below = self._number(each)
                if below is not None:
                    found.update(self._expanded(below, above | {number}))
            self._kept += len(found)
            if found.total() > MOST_CHECKS:
                raise Endless(f"it asks for more than {MOST_CHECKS} checks of any value")
            if self._kept > _MOST_KEPT:
                raise Endless("its references lead to more subschemas than can be kept")
            known = self._ways[number] = found
        return known

    def reached(self, ways: _Ways, step: str | int) -> "Counter[int]":
        """Return what is checked one step below a place."""
        reached: Counter[int] = Counter()
        for number, times in ways.items():
            for each in _at(self._nodes[number], step):
                below = self._number(each)
                for inner, more in self._expanded(below, set()).items() if below is not None else ():
                    reached[inner] += times * more
        return reached


def _below(node: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the subschemas for places below that of `node`."""
    for word in ("properties", "patternProperties"):
        yield from node[word].values() if isinstance(node.get(word), Mapping) else ()
    for word in (*_EVERY_MEMBER, *_EVERY_ITEM, "prefixItems"):
        each = node.get(word)
        yield from each if isinstance(each, list) else (each,)


def _at(node: Mapping[str, Any], step: str | int) -> Iterator[Any]:
    """Yield those of `_below` that can be for one member or item."""
    if isinstance(step, str):
        for word in ("properties", "patternProperties"):
            named = node.get(word)
            if isinstance(named, Mapping):
                yield from named.values() if word == "patternProperties" else (named.get(step),)
        yield from (node.get(word) for word in _EVERY_MEMBER)
        return
    for word in (*_EVERY_ITEM, "prefixItems"):
        each = node.get(word)
        if not isinstance(each, list):
            yield each
        elif step < len(each):
            yield each[step]
