"""Masking named properties in an answer, as a policy's `@redact("email,iban")` obliges."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from gateway.codec import CodecError
from gateway.redaction.rewrite import MARK, Rules, rewrite, rewrite_json_text, texts_in

__all__ = ["mask_fields"]

_MIN_VALUE: Final = 4


def mask_fields(result: Mapping[str, Any], fields: Iterable[str]) -> Mapping[str, Any]:
    """Return an MCP result in which the properties `fields` (any depth, any case) are masked.

    Masked are properties in `structuredContent`, `_meta` and unknown members, and in every text that is JSON. A text
    that looks like JSON, names such a field and cannot be read for sure is masked whole. Texts that were masked are
    then taken out of the other texts as well. Returns `result` itself when it holds nothing of that.
    """
    masking = _Masking(frozenset(name.lower() for name in fields))
    masked = _each_member(result, masking, _TextsOf(masking))
    if not masking.values:
        return masked
    values = _Values(tuple(sorted(masking.values, key=len, reverse=True)))
    return _each_member(masked, values, values)


def _each_member(result: Mapping[str, Any], rules: Rules, content: Rules) -> Mapping[str, Any]:
    """Rewrite a result: `content` under its own rules, because the properties of a content block are protocol."""
    members: dict[str, Any] = {}
    for key, item in result.items():
        if key == "content" and isinstance(item, list):
            blocks = [_block(block, content) for block in item]
            members[key] = blocks if any(new is not old for new, old in zip(blocks, item, strict=True)) else item
        else:
            members[key] = MARK if rules.hides(key, item) else rewrite(item, rules)
    return members if any(members[key] is not result[key] for key in members) else result


def _block(block: Any, rules: Rules) -> Any:
    if not isinstance(block, Mapping):
        return rewrite(block, rules)
    members = {key: item if key == "type" else rewrite(item, rules) for key, item in block.items()}
    return members if any(members[key] is not block[key] for key in members) else block


class _Masking:
    """Hides the named properties, and remembers the texts it hid."""

    numbers: frozenset[str] = frozenset()

    def __init__(self, fields: frozenset[str]) -> None:
        self._fields = fields
        self.values: set[str] = set()

    def text(self, text: str, depth: int) -> str:
        try:
            rewritten = rewrite_json_text(text, self, depth)
        except CodecError:
            lowered = text.lower()
            return MARK if any(name in lowered for name in self._fields) else text
        return text if rewritten is None else rewritten

    def hides(self, key: str, value: Any) -> bool:
        if key.lower() not in self._fields:
            return False
        self.values.update(text for text in texts_in(value, keys=False) if len(text) >= _MIN_VALUE)
        return True


class _TextsOf:
    """Looks for the named properties inside texts only."""

    numbers: frozenset[str] = frozenset()

    def __init__(self, masking: _Masking) -> None:
        self._masking = masking

    def text(self, text: str, depth: int) -> str:
        return self._masking.text(text, depth)

    def hides(self, key: str, value: Any) -> bool:
        return False


class _Values:
    """Takes known texts out of other texts."""

    numbers: frozenset[str] = frozenset()

    def __init__(self, values: tuple[str, ...]) -> None:
        self._values = values

    def text(self, text: str, depth: int) -> str:
        for value in self._values:
            text = text.replace(value, MARK)
        return text

    def hides(self, key: str, value: Any) -> bool:
        return False
