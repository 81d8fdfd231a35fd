"""The client behind a call, as a test sees it."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from gateway.connector import AskRefused, Back, Hear

ALL = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}


class Client(Back):
    """Hears what it is told, and answers what it was given `answers` for: a result, a fault, or what makes one."""

    def __init__(self, *, lane: str = "lane", answers: Mapping[str, Any] | None = None, **more: Any) -> None:
        self.lane = lane
        self.heard: list[tuple[str, Mapping[str, Any]]] = []
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.dropped: list[str] = []
        self.steps: list[Mapping[str, Any]] = []
        self.heard_of: Hear | None = None
        self.apart: Client | None = None
        self._answers = answers or {}
        for name, value in more.items():
            setattr(self, name, value)

    def notify(self, method: str, params: Mapping[str, Any]) -> None:
        self.heard.append((method, params))

    def between(self) -> Back:
        """What is said between calls."""
        self.apart = self.apart or Client()
        return self.apart

    def of(self, method: str) -> list[Mapping[str, Any]]:
        """The params of every notification of that method, in order."""
        return [params for each, params in self.heard if each == f"notifications/{method}"]

    async def ask(self, method: str, params: Mapping[str, Any], hear: Hear | None = None) -> Mapping[str, Any]:
        self.asked.append((method, params))
        self.heard_of = hear
        for step in self.steps:
            assert hear is not None
            hear(step)
        answer = self._answers.get(method)
        try:
            if isinstance(answer, Callable):  # type: ignore[arg-type]
                answer = await answer(params)
        except asyncio.CancelledError:
            self.dropped.append(method)
            raise
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            raise AskRefused(-32601, "This client offers no such method", {"method": method})
        return answer


NAME = {"action": "accept", "content": {"name": "Ada", "response": "yes", "ok": True}}
SAMPLE = {"role": "assistant", "content": {"type": "text", "text": "Bonjour"}, "model": "m"}
ROOTS = {"roots": [{"uri": "file:///tmp", "name": "tmp"}]}
ANSWERS = {"elicitation/create": NAME, "sampling/createMessage": SAMPLE, "roots/list": ROOTS}
