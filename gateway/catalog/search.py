"""Ranks tools by the words of a query (BM25, Robertson and Zaragoza 2009).

Kept here, and small: the search libraries that are looked after bring numpy or an index on disk for a thousand short
texts.
"""

import math
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gateway.model.tool import Tool

__all__ = ["Index", "words_of"]

_K1: Final = 1.2
_B: Final = 0.75
_NAME, _TITLE, _REST = 3, 2, 1
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")  # no spaces in CJK
_STEM: Final = 3
_MAX_WORDS: Final = 32
_MAX_TEXT: Final = 10_000


def words_of(tool: Tool) -> Mapping[str, int]:
    """Return the words by which a tool is found, by weight: of its name, title, description and argument names."""
    definition = tool.definition
    annotations = definition.get("annotations")
    titles = (definition.get("title"), annotations.get("title") if isinstance(annotations, Mapping) else None)
    arguments = tool.input_schema.get("properties")
    named = _CAMEL.sub(" ", " ".join(arguments)) if isinstance(arguments, Mapping) else None
    counted: dict[str, int] = {}
    for text, weight in (
        (_CAMEL.sub(" ", tool.name), _NAME),
        *((title, _TITLE) for title in titles),
        (definition.get("description"), _REST),
        (named, _REST),
    ):
        for word in _words(text):
            counted[word] = counted.get(word, 0) + weight
    return counted


class Index:
    """Finds the texts that say what a query says; built once, never changed."""

    def __init__(self, texts: Sequence[Mapping[str, int]]) -> None:
        """Take the words of each text, by weight."""
        sizes = [sum(words.values()) for words in texts]
        usual = sum(sizes) / len(sizes) if sizes else 0.0
        found: dict[str, list[tuple[int, float]]] = {}
        for number, (words, size) in enumerate(zip(texts, sizes, strict=True)):
            damp = _K1 * (1 - _B + _B * size / usual) if usual else _K1
            for word, weight in words.items():
                found.setdefault(word, []).append((number, weight * (_K1 + 1) / (weight + damp)))
        self._found = found
        self._words = sorted(found)
        self._rarity = {
            word: math.log(1 + (len(texts) - len(hits) + 0.5) / (len(hits) + 0.5)) for word, hits in found.items()
        }

    def find(self, query: str, limit: int) -> list[tuple[int, float]]:
        """Return the numbers and scores of the texts that fit best, best first."""
        scores: dict[int, float] = {}
        for asked in list(dict.fromkeys(_words(_CAMEL.sub(" ", query))))[:_MAX_WORDS]:
            best: dict[int, float] = {}
            for word, likeness in self._like(asked):
                worth = self._rarity[word] * likeness
                for number, weight in self._found[word]:
                    best[number] = max(best.get(number, 0.0), worth * weight)
            for number, score in best.items():
                scores[number] = scores.get(number, 0.0) + score
        return sorted(scores.items(), key=lambda each: (-each[1], each[0]))[:limit]

    def _like(self, asked: str) -> Iterator[tuple[str, float]]:
        """Yield the known words that begin like the one asked for, and how alike they are: `pay` and `payments`."""
        for size in range(_STEM, len(asked)):
            if asked[:size] in self._found:
                yield asked[:size], size / len(asked) / 2
        if asked in self._found:
            yield asked, 1.0
        at = bisect_left(self._words, asked) + (asked in self._found)
        while len(asked) >= _STEM and at < len(self._words) and self._words[at].startswith(asked):
            yield self._words[at], len(asked) / len(self._words[at]) / 2
            at += 1


def _words(text: Any) -> list[str]:
    if not isinstance(text, str):
        return []
    return _WORD.findall(text[:_MAX_TEXT].casefold())
