"""What is shown to a server, and until when."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.credentials.fault import unusable

__all__ = ["Token", "token_in"]

_AHEAD_MS: Final = 60_000
_LONGEST: Final = 16_384
_LONGEST_LIFE_S: Final = 10 * 365 * 86_400


@dataclass(frozen=True, slots=True)
class Token:
    """A secret with its end. `got_ms` and `ends_ms` are Unix time; without `ends_ms` it holds until it is refused.

    `refresh` gets the next one, where there is such a thing. `scopes` are what was granted.
    """

    value: str = field(repr=False)
    got_ms: int
    ends_ms: int | None = None
    refresh: str = field(default="", repr=False)
    scopes: tuple[str, ...] = ()

    def over(self, now_ms: int) -> bool:
        """Tell whether it no longer holds."""
        return self.ends_ms is not None and now_ms >= self.ends_ms

    def ageing(self, now_ms: int) -> bool:
        """Tell whether it is time for another: in the last fifth of its life, a minute before its end at the latest."""
        if self.ends_ms is None:
            return False
        return now_ms >= self.ends_ms - min(_AHEAD_MS, (self.ends_ms - self.got_ms) // 5)


def token_in(answer: Mapping[str, Any], asked_ms: int) -> Token:
    """Return the bearer token in a token endpoint's answer to a request made at `asked_ms`.

    Raises:
        ConnectorFault: there is none, or none that a header can carry.
    """
    value, kind = answer.get("access_token"), answer.get("token_type", "bearer")  # which some leave out
    if not isinstance(kind, str) or kind.lower() not in {"bearer", "n_a"}:
        raise unusable("The authorization server gave no bearer token.")
    if not _is_word(value):
        raise unusable("The authorization server gave no usable token.")
    refresh, scope = answer.get("refresh_token"), answer.get("scope")
    life_s = _life_s(answer.get("expires_in"))
    return Token(
        value=str(value),
        got_ms=asked_ms,
        ends_ms=None if life_s is None else asked_ms + int(life_s * 1000),
        refresh=refresh if isinstance(refresh, str) and _is_word(refresh) else "",
        scopes=tuple(scope.split()) if isinstance(scope, str) else (),
    )


def _life_s(value: object) -> float | None:
    """Return how long a token holds; some servers write the number as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:12])
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < _LONGEST_LIFE_S:
        return None
    return float(value)


def _is_word(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST and all("!" <= char <= "~" for char in value)
