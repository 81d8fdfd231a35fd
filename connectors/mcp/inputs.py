"""`input_required`: a modern server's questions, put to a client that is asked while its call is under way."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from gateway.connector import AskRefused, Clock, ConnectorFault, Rejected, plain

__all__ = ["INPUT_REQUIRED", "MOST_ROUNDS", "answers_to"]

Ask = Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
INPUT_REQUIRED: Final = "input_required"
MOST_ROUNDS: Final = 16
_MOST_REQUESTS: Final = 32
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 0.25


async def answers_to(result: Mapping[str, Any], ask: Ask, rounds: int, clock: Clock) -> Mapping[str, Any]:
    """Return the params with which the request is to be repeated. `rounds` is how often it has been so far.

    `ask` is as `Back.ask`.

    Raises:
        ConnectorFault: the result cannot be used, or the client does not answer.
    """
    requests, state = result.get("inputRequests"), result.get("requestState")
    if not _usable(requests, state):
        raise ConnectorFault("The server asks for input out of shape.", code="contract_broken")
    more: dict[str, Any] = {} if state is None else {"requestState": state}
    if requests:
        more["inputResponses"] = {key: await _answer(each, ask) for key, each in requests.items()}
    else:
        await clock.sleep(min(_FIRST_PAUSE_S * 2.0**rounds, _LONGEST_PAUSE_S))
    return more


async def _answer(request: Mapping[str, Any], ask: Ask) -> Mapping[str, Any]:
    method = request["method"]
    shown = plain(method, 50)
    try:
        return await ask(method, request.get("params", {}))
    except AskRefused as refused:
        raise Rejected(
            f"The server needs an answer to {shown} from the client, and got none: {refused}.",
            detail=f"{shown} was refused with code {refused.code}",
        ) from refused


def _usable(requests: Any, state: Any) -> bool:
    if state is not None and not isinstance(state, str):
        return False
    if not requests:
        return state is not None
    return (
        isinstance(requests, dict)
        and len(requests) <= _MOST_REQUESTS
        and all(
            isinstance(each, dict) and isinstance(each.get("method"), str) and isinstance(each.get("params", {}), dict)
            for each in requests.values()
        )
    )
