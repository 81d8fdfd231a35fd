"""What is asserted of an answer: that fields are a value, one of several, or compare with one."""

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from gateway.catalog.fields import ABSENT, structured, values
from gateway.codec import CodecError, parse

__all__ = ["assertions"]

_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_EQUAL: Final = ("==", "!=")
_Test = Callable[[Any], bool]


def assertions(ensure: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], str]:
    """Return what says which assertion an MCP result breaks, or nothing; no value of the result is repeated.

    A field that is absent breaks what is asserted of it.

    Raises:
        ValueError: an assertion is not of a form that can be judged.
    """
    return partial(_broken, [(path, _said(wanted), _test(wanted)) for path, wanted in ensure.items()])


def _broken(tests: Sequence[tuple[str, str, _Test]], result: Mapping[str, Any]) -> str:
    value = structured(result)
    for path, said, test in tests:
        if not all(each is not ABSENT and test(each) for each in values(value, path)):
            return f"{path} is not {said}"
    return ""


def _said(wanted: Any) -> str:
    return f"one of {json.dumps(wanted)}" if isinstance(wanted, list) else json.dumps(wanted)


def _test(wanted: Any) -> _Test:
    if isinstance(wanted, list):
        return lambda found: any(_same(found, each) for each in wanted)
    sign, _, rest = wanted.partition(" ") if isinstance(wanted, str) else ("", "", "")
    if sign in _COMPARE:
        return partial(_compared, _COMPARE[sign], _number(sign, rest))
    if sign in _EQUAL:
        literal = _literal(rest)
        return lambda found: _same(found, literal) is (sign == "==")
    return partial(_same, wanted)


def _number(sign: str, text: str) -> float:
    value = _literal(text)
    if type(value) not in {int, float}:
        raise ValueError(f'{text!r} cannot be compared with {sign}: write a number, as in "{sign} 0"')
    return value  # type: ignore[no-any-return]  # it is one of the two


def _literal(text: str) -> Any:
    """Read what is compared with: what is JSON as that, any other text as it is."""
    try:
        return parse(text.strip().encode())
    except CodecError:
        return text.strip()


def _compared(compare: Callable[[Any, Any], bool], wanted: float, found: Any) -> bool:
    return type(found) in {int, float} and compare(found, wanted)


def _same(found: Any, wanted: Any) -> bool:
    """Compare as JSON does: 250 is 250.0, true is not 1."""
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    return bool(found == wanted)
