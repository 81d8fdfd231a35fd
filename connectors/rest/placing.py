"""From arguments to a request. What cannot be written so that only one reading of it is left is refused."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from connectors.egress import Target, TargetRefused
from connectors.rest.auth import Credentials, header_problem
from connectors.rest.exchange import Request
from connectors.rest.operation import Body, Form, Operation, Part, Place, Style
from gateway.connector import Effect, Rejected, ToolCall, dump

__all__ = ["Placing"]

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_SEPARATORS: Final = {Style.SPACE: "%20", Style.PIPE: "%7C"}
_MAX_TARGET: Final = 16 * 1024


class Placing:
    """Builds requests for one API."""

    def __init__(self, place: Target, credentials: Credentials, idempotency_header: str | None) -> None:
        self._place = place
        self._credentials = credentials
        self._idempotency_header = idempotency_header

    def request(self, operation: Operation, call: ToolCall) -> Request:
        """Return the request that `call` of `operation` is, but for the headers that show who the gateway is.

        Raises:
            Rejected: an argument is missing, unknown, or of a form its place cannot carry; nothing was sent.
        """
        given = _given(operation, call.arguments)
        body = _body(operation.body, given)
        headers = {}
        if not self._credentials.takes("header", "Accept"):
            headers["Accept"] = "application/json, */*;q=0.5"
        headers.update(_headers(operation, given, self._credentials))
        if body is not None and operation.body is not None:
            headers["Content-Type"] = operation.body.media
        if self._idempotency_header is not None and operation.traits.effect is not Effect.READ:
            headers[self._idempotency_header] = call.idempotency_key or call.call_id
        return Request(operation.method, self._target(operation, given), tuple(headers.items()), body)

    def _target(self, operation: Operation, given: Mapping[str, Any]) -> Target:
        in_path = {part.name: part for part in _parts(operation, Place.PATH)}

        def filled(found: re.Match[str]) -> str:
            part = in_path[found[1]]
            if part.argument not in given:
                raise _refused(f"`{part.argument}` is needed")
            return _path_value(part, given[part.argument])

        path = self._place.path.rstrip("/") + _PLACEHOLDER.sub(filled, operation.path)
        pairs = [
            pair
            for part in _parts(operation, Place.QUERY)
            if part.argument in given
            for pair in _query(part, given[part.argument])
        ]
        pairs += [f"{_word(name)}={_word(value)}" for name, value in self._credentials.query.items()]
        target = replace(self._place, path=path, query="&".join(pairs))
        if len(target.sent) > _MAX_TARGET:
            raise _refused("the arguments make too long a URL")
        try:
            return replace(target, path=Target.read(f"{target.origin}{path}").path)
        except TargetRefused as error:
            raise _refused(str(error)) from None


def _parts(operation: Operation, place: Place) -> Iterator[Part]:
    return (part for part in operation.parts if part.place is place)


def _in_body(operation: Operation, argument: str) -> bool:
    body = operation.body
    return body is not None and (argument == body.argument or argument in body.fields.values())


def _given(operation: Operation, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the arguments that are sent: null outside a body is none."""
    placed = {part.argument for part in operation.parts}
    given = {}
    for name, value in arguments.items():
        if _in_body(operation, name) or (name in placed and value is not None):
            given[name] = value
        elif name not in placed:
            raise _refused(f"there is no argument {name[:80]!r}")
    return given


def _refused(why: str) -> Rejected:
    fault = Rejected(f"This call cannot be sent: {why}.")
    fault.sent = False
    return fault


def _word(text: str) -> str:
    return quote(text, safe="")


def _scalar(part: Part, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return dump(value).decode()
    raise _refused(f"`{part.argument}` cannot hold {'null' if value is None else 'such nested values'}")


def _path_value(part: Part, value: Any) -> str:
    text = ",".join(_word(each) for each in _simple(part, value))
    if not text:
        raise _refused(f"`{part.argument}` is part of the path and cannot be empty")
    return text


def _simple(part: Part, value: Any) -> list[str]:
    """Write a value in the style `simple`: the words between commas."""
    if part.style is Style.JSON:
        return [dump(value).decode()]
    if isinstance(value, Mapping):
        pairs = [(str(key), _scalar(part, each)) for key, each in value.items()]
        return [f"{key}={each}" for key, each in pairs] if part.explode else [word for pair in pairs for word in pair]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_scalar(part, each) for each in value]
    return [_scalar(part, value)]


def _query(part: Part, value: Any) -> Iterator[str]:
    """Yield the `name=value` pairs of one argument."""
    if part.style is Style.JSON:
        yield f"{_word(part.name)}={_word(dump(value).decode())}"
    elif part.style is Style.DEEP:
        yield from _deep(part, _word(part.name), value)
    elif isinstance(value, Mapping) and part.explode:
        for key, each in value.items():
            yield f"{_word(str(key))}={_word(_scalar(part, each))}"
    elif isinstance(value, Sequence) and not isinstance(value, str) and part.explode:
        for each in value:
            yield f"{_word(part.name)}={_word(_scalar(part, each))}"
    else:
        words = [_word(word) for word in _simple(part, value)]
        yield f"{_word(part.name)}={_SEPARATORS.get(part.style, ',').join(words)}"


def _deep(part: Part, name: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _deep(part, f"{name}[{_word(str(key))}]", each)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for each in value:
            yield f"{name}={_word(_scalar(part, each))}"
    else:
        yield f"{name}={_word(_scalar(part, value))}"


def _headers(operation: Operation, given: Mapping[str, Any], credentials: Credentials) -> Mapping[str, str]:
    headers = {}
    for part in _parts(operation, Place.HEADER):
        if part.argument in given:
            text = ",".join(_simple(part, given[part.argument]))
            if problem := header_problem(part.name, text):
                raise _refused(problem)
            headers[part.name] = text
    cookies = [f"{name}={value}" for name, value in credentials.cookies.items()]
    for part in _parts(operation, Place.COOKIE):
        if part.argument in given:
            cookies.append(f"{part.name}={','.join(map(_word, _simple(part, given[part.argument])))}")
    if cookies:
        headers["Cookie"] = "; ".join(cookies)
    return headers


def _body(body: Body | None, given: Mapping[str, Any]) -> bytes | None:
    if body is None or (body.argument and body.argument not in given):
        return None
    value = (
        given[body.argument]
        if body.argument
        else {name: given[argument] for name, argument in body.fields.items() if argument in given}
    )
    if body.form is Form.JSON:
        return dump(value)
    if not isinstance(value, Mapping):
        raise _refused("the body is a form: it must be an object")
    pairs = [pair for name, each in value.items() for pair in _deep(_field(name), _word(str(name)), each)]
    return "&".join(pairs).encode("ascii")


def _field(name: str) -> Part:
    return Part(name, name, Place.QUERY)
