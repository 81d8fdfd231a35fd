"""The forms in which a known secret may turn up in a text."""

import base64
import json
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, quote_plus

__all__ = ["MIN_SECRET", "needles"]

MIN_SECRET: Final = 4
"""Shorter values are not looked for: they cannot be told from ordinary text."""

_MIN_ENCODED: Final = 8
_HTML_TEXT: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_HTML: Final = _HTML_TEXT | str.maketrans({'"': "&quot;", "'": "&#x27;"})
"""As `html.escape` writes them; its module would keep a table of every character that has a name."""


def needles(secrets: Iterable[str]) -> tuple[str, ...]:
    """Return every text to look for, longest first.

    That is each secret plain, URL-encoded, inside JSON or HTML, in hexadecimal, and in base64 at any offset.
    """
    found: set[str] = set()
    for secret in secrets:
        if len(secret) >= MIN_SECRET:
            found |= _forms(secret)
    return tuple(sorted(found, key=lambda needle: (-len(needle), needle)))


def _forms(secret: str) -> set[str]:
    raw = secret.encode("utf-8", "surrogatepass")
    escaped = {quote(raw, safe=""), quote(raw, safe="/"), quote_plus(raw)}
    lower = {_lower_escapes(text) for text in escaped}
    in_json = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    in_html = {secret.translate(_HTML), secret.translate(_HTML_TEXT)}
    in_hex = {raw.hex(), raw.hex().upper()}
    return {secret} | escaped | lower | in_json | in_html | in_hex | _base64_forms(raw)


def _lower_escapes(text: str) -> str:
    parts = text.split("%")
    return "%".join([parts[0], *(part[:2].lower() + part[2:] for part in parts[1:])])


def _base64_forms(raw: bytes) -> set[str]:
    """The base64 of any text that holds `raw` has one of three runs of characters that depend on `raw` alone."""
    forms = set()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
        first = (8 * offset + 5) // 6  # characters that also depend on what stands before
        last = 8 * (offset + len(raw)) // 6  # and after
        run = encoded[first:last]
        if len(run) >= _MIN_ENCODED:
            forms |= {run, run.replace("+", "-").replace("/", "_")}
    return forms
