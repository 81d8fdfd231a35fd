"""The part of an event's body that may be removed one day, without breaking the chain.

A body with such a part has the member `removable` behind what is always kept; everything after it can go. The chain
commits to what is kept as text and to the rest as its SHA-256, and that stands in the member `removed` once it is gone.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["cut", "is_cut", "parted", "parts"]

_MARK: Final = b',"removable":'  # JSON escapes quotes in texts, and what is kept has no member of that name
_GONE: Final = b',"removed":"'
_HEX: Final = 64
_KEPT: Final = ("outcome", "received_ms", "timing", "undoes")
"""What is kept of each call besides the terms that its rows are checked against."""


def parts(terms: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body whose `terms` are kept, with what says that and how a call ended; the rest is removable.

    Of a body that has nothing to keep, all is kept.
    """
    kept = {**terms, **{name: body[name] for name in _KEPT if name in body}}
    if not kept:
        return dict(body)
    return {**kept, "removable": True, **{name: value for name, value in body.items() if name not in kept}}


def parted(text: bytes) -> tuple[bytes, str]:
    """Return what is always kept of a body's text, and the SHA-256 of the rest, be it there or gone, in hex."""
    begins = text.find(_MARK)
    if begins >= 0:
        return text[:begins], hashlib.sha256(text[begins:]).hexdigest()
    if is_cut(text):
        return text[: -len(_GONE) - _HEX - 2], text[-_HEX - 2 : -2].decode("ascii", "replace")
    return text, ""


def is_cut(text: bytes) -> bool:
    """Tell whether the removable part of a body is gone."""
    begins = len(text) - len(_GONE) - _HEX - 2
    return begins > 0 and text.startswith(_GONE, begins) and text.endswith(b'"}') and _MARK not in text


def cut(text: bytes) -> bytes:
    """Return a body without its removable part; one that has none as it is."""
    kept, rest = parted(text)
    return text if not rest or is_cut(text) else kept + _GONE + rest.encode() + b'"}'
