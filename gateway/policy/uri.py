"""Whether a URI can be judged by how it is written: a pattern means nothing on one that a server reads as another."""

import re
from typing import Final
from urllib.parse import unquote

__all__ = ["is_plain"]

_CONTROL: Final = re.compile(r"[\x00-\x20\x7f]")
"""What URL parsers drop without a word: `.<tab>.` is `..` to them."""
_NEEDLESS: Final = re.compile(r"%(?:2[DEde]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff]|7[Ee])")
"""A letter, digit, `-`, `.`, `_` or `~` percent-encoded: the same as the character itself (RFC 3986 §2.3)."""
_SEPARATOR: Final = re.compile(r"[/\\?#]")
_REPEATED: Final = re.compile(r"(?<!:)[/\\]{2}")
"""To a server of files the same as one; behind a colon it begins another URI, as those of web archives hold."""

_BEFORE_PATH: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?://[^/\\?#]*)?")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def is_plain(uri: str) -> bool:
    """Tell whether no server can take `uri` for another text: no dot segments or repeated slashes, also behind `%2F` or
    a backslash, no needless percent-encoding, no control characters, the scheme in small letters.
    """
    scheme = _SCHEME.match(uri)
    if _CONTROL.search(uri) or _NEEDLESS.search(uri) or (scheme is not None and not scheme[0].islower()):
        return False
    before_path = _BEFORE_PATH.match(uri)
    path = re.split(r"[?#]", uri[before_path.end() :] if before_path else uri, maxsplit=1)[0]
    if _REPEATED.search(unquote(path)):
        return False
    return not {".", ".."}.intersection(_SEPARATOR.split(unquote(uri)))
