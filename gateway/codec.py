"""JSON in, JSON out, and the canonical form that is hashed (RFC 8785).

One parsed object is what the policies see and what is sent, so this parser refuses whatever two parsers could read
differently: duplicate keys, NaN and infinities, lone surrogates, encodings other than UTF-8, bottomless nesting.
"""

import hashlib
import json
import re
from base64 import b64decode, urlsafe_b64encode
from typing import Any, Final

import orjson
import rfc8785

__all__ = [
    "MAX_DEPTH",
    "CodecError",
    "canonical",
    "digest",
    "dump",
    "from_base64url",
    "parse",
    "to_base64url",
    "verbatim",
]

MAX_DEPTH: Final = 100
_KEY = re.compile(rb'"[ \t\r\n]*:')
_UNCERTAIN: Final = (b" :", b"\t:", b"\r:", b"\n:", b'\\\\"')
_DIGITS: Final = bytes(ord("0") if chr(byte) in "0123456789" else byte for byte in range(256))
_LONG_NUMBER: Final = b"0" * 16
_MAX_INT_DIGITS: Final = 4000
_OTHERS: Final = frozenset("+/=")


class CodecError(ValueError):
    """The bytes are not JSON that every parser reads the same way."""


def parse(raw: bytes) -> Any:
    """Return the JSON value in `raw` (UTF-8), integers exact.

    Raises:
        CodecError: malformed, ambiguous (duplicate keys), not exactly representable, or nested deeper than MAX_DEPTH.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if _has_long_number(raw):
            return _parse_exactly(raw)
        raise CodecError(str(error)) from None
    shallow = len(raw) <= 2 * MAX_DEPTH or raw.count(b"{") + raw.count(b"[") <= MAX_DEPTH
    if shallow and orjson.dumps(value) == raw:
        return value  # written as it would be written here: no key twice, nothing rounded
    if _has_long_number(raw):  # orjson turns integers beyond 64 bits into floats without a word
        return _parse_exactly(raw)
    keys = _measure(value)
    if keys != _keys_in(raw):  # more key-like bytes than keys: a duplicate, or a string that looks like keys
        return _parse_exactly(raw)
    return value


def _has_long_number(raw: bytes) -> bool:
    return raw.translate(_DIGITS).find(_LONG_NUMBER) >= 0


def _keys_in(raw: bytes) -> int:
    """Count the keys written in JSON text, repeated ones too; what looks like a key in a string may be counted as well.

    Where no space stands before a colon and no backslash is escaped before a quote, counting bytes is exact.
    """
    for uncertain in _UNCERTAIN:
        if raw.find(uncertain) >= 0:  # `in` would first try to take the bytes for a number, which costs ten times more
            return len(_KEY.findall(raw))
    return raw.count(b'":') - raw.count(b'\\":')


def _measure(value: Any) -> int:
    """Count the keys in `value`.

    Raises:
        CodecError: nested deeper than MAX_DEPTH.
    """
    keys = 0
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for node in level:
            if type(node) is dict:
                keys += len(node)
                below.extend(node.values())
            elif type(node) is list:
                below.extend(node)
        if not below:
            return keys
        level = below
    raise CodecError(f"nested deeper than {MAX_DEPTH}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise CodecError("duplicate key")
    return members


def _no_constant(name: str) -> Any:
    raise CodecError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise CodecError("number out of range")
    return value


def _integer(text: str) -> int:
    if len(text) > _MAX_INT_DIGITS:
        raise CodecError("number out of range")
    return int(text)


_EXACT = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite, parse_int=_integer
)


def _parse_exactly(raw: bytes) -> Any:
    try:
        text = raw.decode("utf-8")
        value = _EXACT.decode(text)
        _measure(value)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # a lone surrogate has no UTF-8 form
    except CodecError:
        raise
    except (ValueError, RecursionError) as error:
        raise CodecError(type(error).__name__) from None
    return value


def dump(value: Any) -> bytes:
    """Return `value` as compact UTF-8 JSON, integers of any size exact.

    Raises:
        CodecError: `value` holds something JSON cannot carry.
    """
    try:
        return orjson.dumps(value)
    except (TypeError, ValueError):
        try:
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_read_again)
            return text.encode("utf-8")
        except (TypeError, ValueError, RecursionError) as error:
            raise CodecError(str(error)) from None


def verbatim(text: bytes) -> Any:
    """Return what `dump` writes as `text`, JSON that it wrote before: for what is written again and again."""
    return orjson.Fragment(text)


def to_base64url(raw: bytes) -> str:
    """Return bytes as the parts of a JWS spell them (RFC 7515 §2): without padding."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """Return what is spelled so.

    Raises:
        CodecError: nothing is.
    """
    try:
        if not _OTHERS.isdisjoint(text):
            raise CodecError("spelled in another base64")
        return b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except ValueError as error:
        raise CodecError(str(error)) from None


def _read_again(value: Any) -> Any:
    if isinstance(value, orjson.Fragment):
        return json.loads(orjson.dumps(value))
    raise TypeError(f"{type(value).__name__} is no JSON")


def canonical(value: Any) -> bytes:
    """Return the RFC 8785 form of `value`; integers beyond 2^53 keep all their digits (RFC 8785 has no form for them).

    Raises:
        CodecError: `value` holds something JSON cannot carry.
    """
    try:
        return orjson.dumps(_simple(value), option=orjson.OPT_SORT_KEYS)
    except _NotSimple:
        pass
    try:
        return rfc8785.dumps(value)
    except rfc8785.IntegerDomainError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()
    except (rfc8785.CanonicalizationError, TypeError, ValueError, RecursionError) as error:
        raise CodecError(str(error)) from None


_SAFE_INT: Final = 2**53 - 1
_PLAIN_FLOAT: Final = 1e15
_LEAST_FLOAT: Final = 1e-4
_AS_THEY_ARE: Final = frozenset({str, bool, type(None)})


class _NotSimple(Exception):
    """orjson would write this value in another way than RFC 8785."""


def _simple(value: Any) -> Any:
    """Return `value` so that orjson's sorted output is its RFC 8785 form: whole floats become integers.

    Raises:
        _NotSimple: it holds a key that is not ASCII, a large number, or a small or very exact fraction.
    """
    kind = type(value)
    if kind is dict:
        members = {}
        for key, item in value.items():
            if type(key) is not str or not key.isascii():
                raise _NotSimple
            members[key] = item if type(item) in _AS_THEY_ARE else _simple(item)
        return members
    if kind is float:
        if value.is_integer() and -_PLAIN_FLOAT < value < _PLAIN_FLOAT:
            return int(value)
        if _LEAST_FLOAT <= value < _PLAIN_FLOAT or -_PLAIN_FLOAT < value <= -_LEAST_FLOAT:
            return value
    elif kind in _AS_THEY_ARE or (kind is int and -_SAFE_INT <= value <= _SAFE_INT):
        return value
    elif kind is list or kind is tuple:
        return [item if type(item) in _AS_THEY_ARE else _simple(item) for item in value]
    raise _NotSimple


def digest(value: Any) -> str:
    """Return `sha256:` and the hex SHA-256 of the canonical form of `value`."""
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()
