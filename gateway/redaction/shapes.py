"""What a secret looks like when nobody told us its value. Every pattern takes time linear in the text."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any, Final

from gateway.redaction.rewrite import MARK
from gateway.redaction.screen import any_of, spelled

__all__ = ["SecretKeys", "could_hold_shape", "mask_shapes"]

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

_ENDINGS: Final = (
    "password", "passwd", "passphrase", "secret", "apikey", "accesskey", "secretkey", "privatekey", "signingkey",
    "encryptionkey", "accesstoken", "refreshtoken", "idtoken", "authtoken", "sessiontoken", "bearertoken", "apitoken",
    "authorization", "credentials",
)  # fmt: skip
_EXACT: Final = ("token", "pwd", "cookie", "setcookie", "cvv", "otp")
_BETWEEN: Final = "_- "
"""What names are compared without."""

_TOKEN_WORDS: Final = tuple(map(spelled, _TOKEN_HINTS))
_ASSIGNED: Final = r"""
    ((?:%s)\\{0,3}+["']?\s{0,8}[:=]\s{0,8})                                 # the name and what follows it
    (?:(?:bearer|basic|digest|token)\s{1,4})?+(?!\[redacted\])
    (?:\\{0,3}"(?:[^"\\]|\\.)*+"?|'[^'\n]*+'?|[^\s"'&,;}\])]{3,}+)
"""

could_hold_shape: Final = any_of(_TOKEN_WORDS)
"""Tells, fast, whether a text may hold something that `mask_shapes` would mask."""


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
        words = [spelled(name, _BETWEEN) for name in sorted({*_ENDINGS, *self._exact, *literals})]
        self.may_be_in = any_of(words)
        """Tells, fast, whether texts may hold one of the names."""
        self.may_be_needed = any_of((*_TOKEN_WORDS, *words))
        """Tells, as fast, whether they may hold one of the names, or something that `mask_shapes` would mask."""
        names = [*_ENDINGS, *sorted(self._exact - {"token", "cookie", "setcookie"})]
        assigned = "|".join("[_-]?".join(re.escape(char) for char in name) for name in names)
        self._assigned = re.compile(_ASSIGNED % assigned, re.VERBOSE | re.IGNORECASE)

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


def _squeezed(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")
