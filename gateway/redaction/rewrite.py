"""Rewriting a JSON value: only what changes is copied, and a value in which nothing changes is returned as it is."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from gateway.codec import CodecError, dump, parse

__all__ = ["MARK", "MAX_DEPTH", "Rules", "rewrite", "rewrite_json_text", "texts_in"]

MARK: Final = "[redacted]"
MAX_DEPTH: Final = 200
_MAX_JSON_TEXT: Final = 8 * 1024 * 1024
_MAX_NUMBER: Final = 10**100
_LEAVES: Final = frozenset({int, float, bool, type(None)})


class Rules(Protocol):
    """What is to be taken out: texts, members, and whole numbers that read like one of `numbers`."""

    numbers: frozenset[str]

    def text(self, text: str, depth: int) -> str:
        """Return the text to stand for `text`, or `text` itself. `depth` is how many levels may still follow."""
        ...

    def hides(self, key: str, value: Any) -> bool:
        """Tell whether the whole value under `key` is to be hidden."""
        ...


def rewrite(value: Any, rules: Rules, depth: int = MAX_DEPTH) -> Any:
    """Return `value` rewritten; deeper than `depth` levels everything is hidden, unseen."""
    if isinstance(value, str):
        return rules.text(value, depth)
    if isinstance(value, Mapping):
        return _rewrite_members(value, rules, depth - 1) if depth > 0 else MARK
    if isinstance(value, list | tuple):
        if depth <= 0:
            return MARK
        items = [rewrite(item, rules, depth - 1) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return MARK if rules.numbers and _digits(value) in rules.numbers else value


def _digits(value: Any) -> str:
    """Write a whole number as text; anything else, and what no secret can be, is empty."""
    return str(value) if type(value) is int and -_MAX_NUMBER < value < _MAX_NUMBER else ""


def _rewrite_members(value: Mapping[str, Any], rules: Rules, depth: int) -> Mapping[str, Any]:
    members: dict[str, Any] = {}
    changed = False
    for key, item in value.items():
        new_key = rules.text(key, 0)
        new_item = MARK if rules.hides(key, item) else rewrite(item, rules, depth)
        changed = changed or new_key is not key or new_item is not item
        members[new_key] = new_item
    return members if changed else value


def rewrite_json_text(text: str, rules: Rules, depth: int) -> str | None:
    """Rewrite a text that holds a JSON object or array; return None where it holds neither.

    Raises:
        CodecError: it looks like JSON, and is not JSON that every parser reads the same way.
    """
    inner = text.strip()
    if depth <= 0 or not inner or (inner[0] + inner[-1]) not in {"{}", "[]"}:
        return None
    if len(inner) > _MAX_JSON_TEXT:
        raise CodecError("too large to be looked through")
    try:
        value = parse(inner.encode("utf-8"))
    except UnicodeEncodeError:
        raise CodecError("lone surrogate") from None
    rewritten = rewrite(value, rules, depth - 1)
    return text if rewritten is value else dump(rewritten).decode("utf-8")


def texts_in(value: Any, *, keys: bool = True, numbers: bool = False) -> list[str]:
    """Return every text in `value`, however deep; with `keys` those too, with `numbers` whole numbers as text."""
    found: list[str] = []
    stack = [value]
    while stack:
        node = stack.pop()
        kind = type(node)
        if kind is str:
            found.append(node)
        elif kind in _LEAVES:
            if numbers and kind is int:
                found.append(_digits(node))
        elif kind is dict or isinstance(node, Mapping):
            if keys:
                found.extend(node)
            stack.extend(node.values())
        elif kind is list or kind is tuple:
            stack.extend(node)
        elif isinstance(node, str):
            found.append(str(node))
    return found
