"""Makes an answer that is too large into one that fits and says so; what it leaves out becomes one text to read on in.

The text holds everything: first all texts, then what is structured, then images and whatever else was left out. What a
client holds against the output schema is replaced by a note of its own shape (gateway.catalog.cut), never by a part
that could be taken for the whole: a program that sums the rows of half a table must fail, not be wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.catalog.cut import CUT
from gateway.catalog.own_tools import READ_WIRE_NAME
from gateway.codec import CodecError, dump, parse

__all__ = ["Cut", "cut", "head_of", "size_of"]

_ROOM: Final = 768
"""Bytes for what is said of a cut answer."""

_LEAST: Final = 256
_TAKEN_APART: Final = frozenset({"content", "structuredContent"})
_ALWAYS: Final = frozenset({"isError", "resultType"})
_MEDIA: Final = frozenset({"image", "audio", "resource", "resource_link"})
_SMALL: Final = 4
_NAMED: Final = 5
_LONGEST: Final = 40
_BREAKS: Final = ("\n\n", "\n", ". ", " ")


@dataclass(frozen=True, slots=True)
class Cut:
    """An answer taken apart: the whole `text`, how many of its characters are shown, and what is kept beside them.

    `ends` names what stands after the texts, as JSON, and where: (what, offset).
    """

    text: str
    shown: int
    beside: Sequence[Any]
    more: Mapping[str, Any]
    structured: bool
    ends: Sequence[tuple[str, int]]

    def answer(self, size: int, handle: str, until: str) -> dict[str, Any]:
        """Return the answer in the place of one of `size` bytes; an empty handle says that the rest is lost."""
        note: dict[str, Any] = {"bytes": size, "total": len(self.text)}
        if handle:
            note |= {"tool": READ_WIRE_NAME, "handle": handle, "next": self.shown, "until": until}
        head = [{"type": "text", "text": self.text[: self.shown]}] if self.shown else []
        meta = self.more.get("_meta")
        result = {
            **self.more,
            "content": [*head, *self.beside, {"type": "text", "text": self._said(note)}],
            "_meta": {**(meta if isinstance(meta, Mapping) else {}), CUT: note},
        }
        return {**result, "structuredContent": {CUT: note}} if self.structured else result

    def _said(self, note: Mapping[str, Any]) -> str:
        told = f"[This answer was too large and is cut: {self.shown} of its {note['total']} characters are shown."
        if "handle" not in note:
            return f"{told} The rest is too large to be kept; ask for less.]"
        arguments = dump({"handle": note["handle"], "offset": note["next"]}).decode()
        ends = "".join(f" {what} is at {offset}." for what, offset in self.ends[:_NAMED])
        return (
            f"{told}{ends} Read on with {READ_WIRE_NAME} {arguments} until {note['until']}; "
            "the call itself is done, do not repeat it.]"
        )


def size_of(result: Mapping[str, Any]) -> int:
    """Return the size of an answer as JSON, in bytes."""
    return len(dump(result))


def cut(result: Mapping[str, Any], limit: int) -> Cut:
    """Take apart an answer that has more than `limit` bytes."""
    room = max(limit - _ROOM, _LEAST)
    more, left, room = _fields(result, room)
    texts: list[str] = []
    beside: list[Any] = []
    for block in result.get("content") or ():
        text = _text_of(block)
        size = len(dump(block))
        if text is not None:
            texts.append(text)
        elif size <= room // _SMALL:
            beside.append(block)
            room -= size
        else:
            left.append((_label(block), block))
    structured = result.get("structuredContent")
    if structured is not None and not any(_says(text, structured) for text in texts):
        texts.append(dump(structured).decode())
    whole = "\n\n".join(texts)
    shown = len(head_of(whole, 0, max(room, _LEAST)))
    parts, ends, at = [whole], [], len(whole)
    for what, value in left:
        parts.append(dump(value).decode())
        ends.append((what, at + 2))
        at += 2 + len(parts[-1])
    return Cut("\n\n".join(parts), shown, beside, more, structured is not None, ends)


def head_of(text: str, start: int, room: int) -> str:
    """Return the text from `start`, cut where it reads best, that takes at most `room` bytes as JSON; never nothing."""
    head = text[start : start + room]
    while len(head) > 1 and (size := len(dump([head])) - 4) > room:
        head = head[: max(1, min(len(head) - 1, len(head) * room // size))]
    if start + len(head) >= len(text):
        return head
    for mark in _BREAKS:
        at = head.rfind(mark)
        if at > len(head) * 4 // 5:
            return head[: at + len(mark)]
    return head


def _fields(result: Mapping[str, Any], room: int) -> tuple[dict[str, Any], list[tuple[str, Any]], int]:
    """Return the other fields that are small enough to stay, those that are not, and how much room is left."""
    more: dict[str, Any] = {}
    left: list[tuple[str, Any]] = []
    for name, value in result.items():
        size = len(dump({name: value}))
        if name in _ALWAYS or (name not in _TAKEN_APART and size <= room // _SMALL):
            more[name] = value
            room -= size
        elif name not in _TAKEN_APART:
            left.append((ascii(name[:_LONGEST]), {name: value}))
    return more, left, room


def _text_of(block: Any) -> str | None:
    if not isinstance(block, Mapping):
        return None
    if block.get("type") == "text":
        text, said = block.get("text"), ""
    else:
        resource = block.get("resource")
        resource = resource if isinstance(resource, Mapping) else {}
        text, said = resource.get("text"), f"[{resource.get('uri')}]\n"
    return f"{said}{text}" if isinstance(text, str) else None


def _label(block: Any) -> str:
    """Say what a block is, in the gateway's own words."""
    kind = block.get("type") if isinstance(block, Mapping) else None
    return f"the {kind}" if kind in _MEDIA else "a part of another kind"


def _says(text: str, structured: Any) -> bool:
    """Tell whether a text is the structured content once more, as the specification asks servers to add."""
    if text.lstrip()[:1] not in {"{", "["}:
        return False
    try:
        return bool(parse(text.encode("utf-8", "surrogatepass")) == structured)
    except CodecError:
        return False
