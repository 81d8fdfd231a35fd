"""What servers do while they are called: they tell, and ask."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.connector import AskRefused, ToolCall
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, Gate, answer
from tests.transport.front import Front

__all__ = ["ELICIT", "LIST", "MAY_ASK", "PAY", "Asks", "Tells", "asking_front"]

ELICIT = {"message": "Really?", "requestedSchema": {"type": "object", "properties": {"ok": {"type": "boolean"}}}}
MAY_ASK = (
    '@id("elicit") permit (principal, action == Gateway::Action::"elicit", resource);',
    '@id("sample") permit (principal, action == Gateway::Action::"sample", resource);',
)
LIST = {"name": "payments_list", "arguments": {}}
PAY = {"name": "payments_pay", "arguments": PAYMENT}


class Tells:
    """A server's call in which it tells its progress and logs, then answers."""

    def __init__(self, *said: tuple[str, Mapping[str, Any]]) -> None:
        self._said = said

    async def __call__(self, call: ToolCall) -> Mapping[str, Any]:
        for method, params in self._said:
            call.back.notify(method, params)
        return answer({"told": len(self._said)})


class Asks:
    """A server's call in which it asks, one `round` of questions after the other, and answers with what it was told."""

    def __init__(self, *rounds: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        self._rounds = rounds or ([("elicitation/create", ELICIT)],)
        self.told: list[Any] = []
        self.ended = ""

    async def __call__(self, call: ToolCall) -> Mapping[str, Any]:
        try:
            for questions in self._rounds:
                self.told += await asyncio.gather(*(self._ask(call, *question) for question in questions))
        except BaseException as error:
            self.ended = type(error).__name__
            raise
        self.ended = "answered"
        return answer({"told": self.told})

    @staticmethod
    async def _ask(call: ToolCall, method: str, params: Mapping[str, Any]) -> Any:
        try:
            return await call.back.ask(method, params)
        except AskRefused as refused:
            return [refused.code, refused.message]


def asking_front(*calls: Any, policies: Sequence[str] = MAY_ASK) -> Front:
    """A gateway whose policies let servers ask, and whose server of payments does these things when called."""
    front = Front(Gate(PERMIT_ALL, *policies))
    front.gate.servers["payments"].calls += calls
    return front
