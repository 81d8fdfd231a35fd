"""The part of an event's body that may be removed one day, without breaking the chain.

A body with such a part has the member `removable` behind what is always kept; everything after it can go. The chain
commits to what is kept as text and to the rest as its digest, and that stands in the member `removed` once it is gone.

The digest of the rest is its SHA-256. Where `removable` is 2, the rest ends with the member `shared`, which is the same
in many bodies, and its digest is the SHA-256 of all before the first `,"shared":{`, a newline, and the SHA-256 of what
begins there: what many bodies share need not be hashed for each, nor written (sqlite/sharing.py).
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, final

from gateway.model.light import light

__all__ = [
    "SHARED",
    "Share",
    "Text",
    "Written",
    "cut",
    "is_cut",
    "looks_shared",
    "parted",
    "parts",
    "shared",
    "sharing",
]

SHARED: Final = "shared"
"""The member that holds what a body has in common with many others."""

_MARK: Final = b',"removable":'  # JSON escapes quotes in texts, and what is kept has no member of that name
_IN_TWO: Final = b',"removable":2,'
_SHARE: Final = b',"shared":{'
_LOOKS_SHARED: Final = _SHARE.decode()
_SHARES: Final = 1024
_LONGEST_SHARE: Final = 16 * 1024
_GONE: Final = b',"removed":"'
_HEX: Final = 64
_KEPT: Final = ("imported", "outcome", "received_ms", "timing", "undoes")
"""What is kept of each call besides the terms that its rows are checked against."""


class Share(NamedTuple):
    """What many bodies end with: from `,"shared":{` on to their last brace, and the SHA-256 of that in hex."""

    text: bytes
    digest: str


class Text(NamedTuple):
    """The text of a body: JSON, in which a `share` takes the place of the last brace."""

    own: bytes
    share: Share | None = None

    def whole(self) -> bytes:
        """Return all of it."""
        return self.own if self.share is None else self.own[:-1] + self.share.text


_made: Final[Callable[[tuple[bytes, Share | None]], Text]] = partial(tuple.__new__, Text)  # as `Text` makes itself


@final
@light
@dataclass(frozen=True, slots=True)
class Written:
    """A body that is JSON already: members that are kept of it, and members that can be removed, without braces.

    Neither must look as if a `share` began there, if they end with one (`looks_shared`).
    """

    kept: str
    rest: str
    share: Share | None = None

    def text(self, terms: str = "") -> Text:
        """Return its text; `terms` are members by which rows can be rebuilt, with a comma after each."""
        share = self.share
        form = "true" if share is None else "2"
        return _made((f'{{{terms}{self.kept},"removable":{form},{self.rest}}}'.encode(), share))


def looks_shared(text: str) -> bool:
    """Tell whether something in a JSON text looks like the beginning of what many bodies end with."""
    return _LOOKS_SHARED in text


def shared(members: bytes) -> Share:
    """Return what many bodies end with, given the JSON of a not empty object."""
    text = b',"shared":%b}' % members
    return Share(text, hashlib.sha256(text).hexdigest())


def sharing(own: bytes, share: Share) -> Text:
    """Return the text of a body that ends with a share; in one piece where it is not the first that looks like one."""
    text = Text(own, share)
    return text if own.find(_SHARE) < 0 else Text(text.whole())


def parts(terms: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body whose `terms` are kept, with what says that and how a call ended; the rest is removable.

    Of a body that has nothing to keep, all is kept.
    """
    kept = {**terms, **{name: body[name] for name in _KEPT if name in body}}
    if not kept:
        return dict(body)
    if SHARED not in body:
        return {**kept, "removable": True, **body, **kept}  # in the order of the first mention, with what is kept
    whole = {**kept, "removable": 2, **body, **kept}
    whole[SHARED] = whole.pop(SHARED)  # the last one
    return whole


def parted(text: bytes, share: Share | None = None) -> tuple[bytes, str]:
    """Return what is always kept of a body's text, and the digest of the rest, be it there or gone, in hex.

    With a `share` the text is what it is without that.
    """
    begins = text.find(_MARK)
    if begins >= 0:
        return text[:begins], _digest(text[begins:]) if share is None else _joined(text[begins:-1], share.digest)
    if is_cut(text):
        return text[: -len(_GONE) - _HEX - 2], text[-_HEX - 2 : -2].decode("ascii", "replace")
    return text, ""


def _digest(rest: bytes) -> str:
    at = rest.find(_SHARE) if rest.startswith(_IN_TWO) else -1
    if at < 0:
        return hashlib.sha256(rest).hexdigest()
    share = rest[at:]
    known = _share_digest(share) if len(share) <= _LONGEST_SHARE else hashlib.sha256(share).hexdigest()
    return _joined(rest[:at], known)


def _joined(rest: bytes, share: str) -> str:
    return hashlib.sha256(b"\n".join((rest, share.encode()))).hexdigest()


@lru_cache(maxsize=_SHARES)
def _share_digest(share: bytes) -> str:
    return hashlib.sha256(share).hexdigest()


def is_cut(text: bytes) -> bool:
    """Tell whether the removable part of a body is gone."""
    begins = len(text) - len(_GONE) - _HEX - 2
    return begins > 0 and text.startswith(_GONE, begins) and text.endswith(b'"}') and _MARK not in text


def cut(text: bytes) -> bytes:
    """Return a body without its removable part; one that has none as it is."""
    kept, rest = parted(text)
    return text if not rest or is_cut(text) else kept + _GONE + rest.encode() + b'"}'
