"""What a secret looks like when nobody told us its value. Every pattern takes time linear in the text."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any, Final

from gateway.redaction.rewrite import MARK

__all__ = ["SecretKeys", "could_hold_shape", "mask_shapes"]


_Stems = tuple[tuple[str, tuple[str, ...]], ...]
_RAREST_FIRST: Final = "jzxqkvwy_-.bpgmfucdlhrnsioate"


def _stems(hints: Iterable[str], stems: tuple[str, ...]) -> _Stems:
    """Return fewer texts, one of which is in whatever holds one of `hints`, by the rarest letter of each.

    Looking for a text takes its time, looking for a letter next to none.
    """
    found: dict[str, tuple[str, ...]] = {}
    for stem in (*stems, *(hint for hint in hints if not any(stem in hint for stem in stems))):
        letter = next((each for each in _RAREST_FIRST if each in stem), stem[:1])  # nothing is in every text
        found[letter] = (*found.get(letter, ()), stem)
    return tuple(found.items())


# Each pattern starts where a word starts, or at a mark that cannot repeat inside what it takes, and what it takes is
# possessive: no position is looked at more than a few times.
_TOKENS: Final = re.compile(
    r"""
      (?<![A-Za-z0-9])tg_[a-z0-9]{16,128}+_[a-z0-9]{16,256}+                # our own API tokens
    | (?<![A-Za-z0-9])tgl\.[a-z0-9._-]{1,200}+                             # our own local credentials
    | (?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]*+     # JWTs
    | (?<![A-Za-z0-9_-])sk-[A-Za-z0-9_-]{16,}+                             # model providers, Stripe
    | (?<![A-Za-z0-9])(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,}+
    | (?<![A-Za-z0-9])(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Z])                # AWS access key ids
    | (?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])               # Google
    | (?<![A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{20,}+                          # GitHub
    | (?<![A-Za-z0-9])github_pat_[A-Za-z0-9_]{20,}+
    | (?<![A-Za-z0-9])xox[abeoprs]-[A-Za-z0-9-]{10,}+                      # Slack
    | -----BEGIN\ [A-Z0-9 ]{0,40}PRIVATE\ KEY-----[A-Za-z0-9+/=\s\\:,]*+(?:-----END[A-Z0-9 ]{0,50}-----)?
    """,
    re.VERBOSE,
)
_BEARER: Final = re.compile(r"(?<![A-Za-z0-9])(bearer|basic)(\s{1,4})[A-Za-z0-9._~+/=-]{12,}+", re.IGNORECASE)
_TOKEN_HINTS: Final = (
    "tg_", "tgl.", "eyj", "sk-", "k_live_", "k_test_", "akia", "asia", "aiza", "ghp_", "gho_", "ghu_", "ghs_", "ghr_",
    "github_pat_", "xox", "-----begin", "bearer", "basic",
)  # fmt: skip

_TOKEN_STEMS: Final = _stems(_TOKEN_HINTS, ("gh", "tg", "k_", "----"))
_ENDINGS: Final = (
    "password", "passwd", "passphrase", "secret", "apikey", "accesskey", "secretkey", "privatekey", "signingkey",
    "encryptionkey", "accesstoken", "refreshtoken", "idtoken", "authtoken", "sessiontoken", "bearertoken", "apitoken",
    "authorization", "credentials",
)  # fmt: skip
_EXACT: Final = ("token", "pwd", "cookie", "setcookie", "cvv", "otp")
_KEY_STEMS: Final = ("key", "pass", "pwd")
_ASSIGNED: Final = r"""
    ((?:%s)\\{0,3}+["']?\s{0,8}[:=]\s{0,8})                                 # the name and what follows it
    (?:(?:bearer|basic|digest|token)\s{1,4})?+(?!\[redacted\])
    (?:\\{0,3}"(?:[^"\\]|\\.)*+"?|'[^'\n]*+'?|[^\s"'&,;}\])]{3,}+)
"""


def could_hold_shape(lowered: str) -> bool:
    """Tell, fast, whether a text (given in lower case) may hold something `mask_shapes` would mask."""
    return _holds_stem(lowered, _TOKEN_STEMS) and _holds_any(lowered, _TOKEN_HINTS)


def mask_shapes(text: str) -> str:
    """Return `text` with bearer credentials, tokens, JWTs and private keys masked."""
    return _TOKENS.sub(MARK, _BEARER.sub(rf"\1\2{MARK}", text))


class SecretKeys:
    """Names whose values are secret: the usual ones, and those the operator adds (`*` matches any run).

    Names are compared in lower case, without `_`, `-` and spaces.
    """

    def __init__(self, added: Iterable[str] = ()) -> None:
        patterns = [_squeezed(name) for name in added]
        self._exact = frozenset(_EXACT) | {name for name in patterns if "*" not in name}
        self._globs = tuple(name for name in patterns if "*" in name)
        literals = [max(glob.split("*"), key=len) for glob in self._globs]
        hints = {*_ENDINGS, *self._exact, *literals}
        self._hints = tuple(sorted(h for h in hints if not any(other in h for other in hints - {h})))
        self._stems = _stems(self._hints, _KEY_STEMS)
        names = [*_ENDINGS, *sorted(self._exact - {"token", "cookie", "setcookie"})]
        spelled = "|".join("[_-]?".join(re.escape(char) for char in name) for name in names)
        self._assigned = re.compile(_ASSIGNED % spelled, re.VERBOSE | re.IGNORECASE)

    def may_be_in(self, lowered: str) -> bool:
        """Tell, fast, whether texts (in lower case) may hold one of the names."""
        squeezed = lowered.replace("_", "").replace("-", "").replace(" ", "")
        return _holds_stem(squeezed, self._stems) and _holds_any(squeezed, self._hints)

    def hides(self, key: str, value: Any) -> bool:
        """Tell whether the value under `key` is secret. A flag or nothing at all never is."""
        if value is None or isinstance(value, bool):
            return False
        name = _squeezed(key[:200].lower())
        return (
            name in self._exact or name.endswith(_ENDINGS) or any(fnmatchcase(name, pattern) for pattern in self._globs)
        )

    def mask_assigned(self, text: str) -> str:
        """Mask what follows such a name and `:` or `=` in running text."""
        return self._assigned.sub(rf"\1{MARK}", text)


def _holds_stem(text: str, stems: _Stems) -> bool:
    for letter, some in stems:
        if letter in text:
            for stem in some:
                if stem in text:
                    return True
    return False


def _holds_any(text: str, hints: tuple[str, ...]) -> bool:
    for hint in hints:  # noqa: SIM110  # a generator doubles the cost
        if hint in text:
            return True
    return False


def _squeezed(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")
