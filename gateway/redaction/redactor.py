"""Keeps secrets out of the ledger, of what agents see, and of logs."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from gateway.codec import CodecError, dump
from gateway.redaction.fields import mask_fields
from gateway.redaction.forms import needles
from gateway.redaction.rewrite import MARK, rewrite, rewrite_json_text, texts_in
from gateway.redaction.shapes import SecretKeys, could_hold_shape, mask_shapes

__all__ = ["MARK", "Redactor"]

_CONTROL: Final = dict.fromkeys(
    [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)], " "
)


_RUN: Final = re.compile(r"[A-Za-z0-9+/=_.%-]{20,}")
_ESCAPED: Final = re.compile(r'["\\\x00-\x1f]')  # what stands in JSON in another form
_SHORT: Final = 4096
_FEW: Final = 24
_CONSTANTS: Final = 4096
_LONGEST_KEY: Final = 64


class Redactor:
    """Takes secrets out. Values are never changed in place, and are returned as they are when nothing is in them.

    `secrets` are values the gateway holds; those of less than four characters cannot be told from ordinary text and are
    not looked for. `keys` are further names whose values are secret at rest (`*` matches any run).
    """

    def __init__(self, secrets: Iterable[str] = (), keys: Iterable[str] = ()) -> None:
        self._secrets = frozenset(secrets)
        self._held: frozenset[str] = frozenset()
        self._known = _Known(self._secrets)
        self._keys = SecretKeys(keys)
        self._constants: dict[int, tuple[Any, Any]] = {}

    def learn(self, secrets: Iterable[str]) -> None:
        """Look for these values too, from now on; those known before are not forgotten."""
        self._secrets |= frozenset(secrets)
        self._look_for_all()

    def hold(self, secrets: Iterable[str]) -> None:
        """Look for these as well, in the place of those given to `hold` before: for what changes often."""
        self._held = frozenset(secrets)
        self._look_for_all()

    def _look_for_all(self) -> None:
        self._known = _Known(self._secrets | self._held)
        self._constants = {}

    def deliver(self, value: Any, *, fields: tuple[str, ...] = ()) -> Any:
        """Return what an agent may see of a result or error: all of it but the gateway's own secrets.

        `fields` names properties of an MCP result to mask as well (see `mask_fields`).
        """
        known = self._known
        if known.may_be_in(known.text_of(value)):
            value = rewrite(value, known)
        return mask_fields(value, fields) if fields and isinstance(value, Mapping) else value

    def shown(self, value: Any) -> tuple[Any, bytes | None]:
        """Return what an agent may see of a result, and the JSON of that if it is at hand."""
        known = self._known
        text = known.json_of(value)
        if text is None or (known.any and known.may_be_in(text.decode())):
            return self.deliver(value), None
        return value, text

    def record(self, value: Any) -> Any:
        """Return what may be kept of a value: no known secret, nothing under a secret's name, nothing like a token.

        A tuple stands for what never changes, down to its leaves: what is to be kept of it is remembered.
        """
        if type(value) is not tuple:
            return self._at_rest(value)
        known = self._constants.get(id(value))
        return known[1] if known is not None and known[0] is value else self._constant(value)

    def keeps(self, text: str) -> object | None:
        """Return a mark if surely nothing must be taken out, to be kept, of what has this JSON; else None.

        It is the same object as long as the same is looked for.
        """
        known = self._known
        if not known.written_as_they_are or (known.any and known.may_be_in(text)) or self._keys.may_be_needed(text):
            return None
        return known

    def _constant(self, value: tuple[Any, ...]) -> Any:
        if len(self._constants) >= _CONSTANTS:
            self._constants = {}
        kept = self._at_rest(value)
        self._constants[id(value)] = value, kept
        return kept

    def _at_rest(self, value: Any) -> Any:
        known = self._known
        whole = known.text_of(value)
        if known.may_be_in(whole) or self._keys.may_be_needed(whole):
            return rewrite(value, _AtRest(known, self._keys))
        return value

    def found_in(self, value: Any) -> str | None:
        """Return where in `value` a known secret or something like a token is, as a JSON pointer; None for nowhere."""
        known = self._known
        whole = known.text_of(value)
        if not known.may_be_in(whole) and not could_hold_shape(whole):
            return None
        rewritten = rewrite(value, _Leaving(known))
        return None if rewritten is value else _first_change(value, rewritten)

    def text(self, line: str) -> str:
        """Return a line fit for a log: no secrets, and nothing that could start a new line or steer a terminal."""
        rules = _AtRest(self._known, self._keys)
        return rules.mask(rules.mask(line).translate(_CONTROL))


class _Known:
    """The secrets whose values are known."""

    def __init__(self, secrets: frozenset[str]) -> None:
        self._needles = needles(secrets)
        self.any = bool(self._needles)
        self._other = tuple(needle for needle in self._needles if not _RUN.fullmatch(needle))
        self.written_as_they_are = not any(_ESCAPED.search(needle) for needle in self._needles)
        self.numbers = frozenset(needle for needle in self._needles if needle.isdecimal())

    def text_of(self, value: Any) -> str:
        """Return a text in which whatever secret is in `value` can be found."""
        text = self.json_of(value)
        return "\0".join(texts_in(value, numbers=bool(self.numbers))) if text is None else text.decode()

    def json_of(self, value: Any) -> bytes | None:
        """Return the JSON of `value`, if there is such and whatever secret is in `value` can be found in it."""
        try:
            return dump(value) if self.written_as_they_are else None
        except (CodecError, UnicodeEncodeError):
            return None

    def may_be_in(self, text: str) -> bool:
        # Most secrets are one long run of letters and digits; a short text without such a run holds none of them,
        # however many there are. For few needles, or in a long text, looking for runs costs more than the needles.
        runs_matter = len(self._needles) <= _FEW or len(text) > _SHORT or _RUN.search(text) is not None
        for needle in self._needles if runs_matter else self._other:  # noqa: SIM110  # a generator doubles the cost
            if needle in text:
                return True
        return False

    def text(self, text: str, depth: int) -> str:
        for needle in self._needles:
            if needle in text:
                text = text.replace(needle, MARK)
        return text

    def hides(self, key: str, value: Any) -> bool:
        return False


class _Leaving:
    """Known secrets, and whatever looks like one, whatever it is called."""

    def __init__(self, known: _Known) -> None:
        self._known = known
        self.numbers = known.numbers

    def text(self, text: str, depth: int) -> str:
        text = self._known.text(text, depth)
        return mask_shapes(text) if could_hold_shape(text) else text

    def hides(self, key: str, value: Any) -> bool:
        return False


def _first_change(value: Any, rewritten: Any) -> str:
    """Return the place of the first value that was rewritten; of a key that was, the place of its object."""
    place = ""
    while True:
        if isinstance(value, Mapping) and isinstance(rewritten, Mapping) and value.keys() == rewritten.keys():
            key = next(key for key in value if value[key] is not rewritten[key])
            place += f"/{key[:_LONGEST_KEY].replace('~', '~0').replace('/', '~1')}"
        elif isinstance(value, list) and isinstance(rewritten, list):
            key = next(number for number, each in enumerate(value) if each is not rewritten[number])
            place += f"/{key}"
        else:
            return place
        value, rewritten = value[key], rewritten[key]


class _AtRest:
    """Known secrets, values under secret names, and whatever looks like a secret."""

    def __init__(self, known: _Known, keys: SecretKeys) -> None:
        self._known = known
        self._keys = keys
        self.numbers = known.numbers

    def text(self, text: str, depth: int) -> str:
        try:
            rewritten = rewrite_json_text(text, self, depth)
        except CodecError:
            rewritten = None
        return self.mask(text) if rewritten is None or rewritten is text else self._known.text(rewritten, depth)

    def mask(self, text: str) -> str:
        """Mask secrets in a text that is no JSON."""
        text = self._known.text(text, 0)
        if self._keys.may_be_in(text):
            text = self._keys.mask_assigned(text)
        return mask_shapes(text) if could_hold_shape(text) else text

    def hides(self, key: str, value: Any) -> bool:
        return self._keys.hides(key, value)
