"""The fields of an answer: `total`, `page.next`, `items.*.price`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gateway.codec import CodecError, parse

__all__ = ["ABSENT", "MOST_LETTERS", "check_path", "only", "structured", "values"]

ABSENT: Final = object()
"""What stands where a path leads nowhere."""

MOST_LETTERS: Final = 256


def check_path(text: str) -> str:
    """Return a path as it is. Raises `ValueError` where it names nothing."""
    if not all(text.split(".")) or len(text) > MOST_LETTERS:
        raise ValueError(f"{text[:80]!r} names no field of an answer; write total, page.next or items.*.price")
    return text


def structured(result: Mapping[str, Any]) -> Any:
    """Return what an MCP result says in a form that has fields: what is structured, or its only text if that is JSON.

    Else `ABSENT`.
    """
    if "structuredContent" in result:
        return result["structuredContent"]
    texts = [block.get("text") for block in result.get("content") or () if isinstance(block, Mapping)]
    if len(texts) != 1 or not isinstance(texts[0], str):
        return ABSENT
    try:
        return parse(texts[0].encode("utf-8", "surrogatepass"))
    except CodecError:
        return ABSENT


def values(value: Any, path: str) -> list[Any]:
    """Return the values at a path, `ABSENT` for each way that leads nowhere; none for the elements of an empty list."""
    return list(_walk(value, path.split(".")))


def only(value: Any, path: str) -> Any:
    """Return the one value at a path, or `ABSENT`."""
    found = values(value, path)
    return found[0] if len(found) == 1 else ABSENT


def _walk(value: Any, names: Sequence[str]) -> Iterator[Any]:
    if not names:
        yield value
    elif names[0] == "*" and isinstance(value, list):
        for each in value:
            yield from _walk(each, names[1:])
    elif isinstance(value, Mapping) and names[0] in value:
        yield from _walk(value[names[0]], names[1:])
    else:
        yield ABSENT
