"""Questions of a legacy server whose client asks again and again how a task stands, as 2026-07-28 has it.

The server asks while it is waited for its result; the client sees the questions when it asks how the task stands, and
answers them with `tasks/update`.
"""

import asyncio
from collections.abc import Mapping
from itertools import count
from typing import Any, Final

from gateway.model.back import AskRefused, Back, Hear

__all__ = ["Collecting"]

_ASK_S: Final = 600.0


class Collecting(Back):
    """The way back to such a client: what it is asked waits for its answer here, as long as any question does."""

    def __init__(self, back: Back, ask_s: float = _ASK_S) -> None:
        self._ask_s = ask_s
        self.capabilities = back.capabilities
        self.declares = back.declares
        self.lane = back.lane
        self.log_level = back.log_level
        self._open: dict[str, tuple[Mapping[str, Any], asyncio.Future[Mapping[str, Any]]]] = {}
        self._numbers = count(1)
        self.asked = asyncio.Event()
        """Set once there has been a question."""

    @property
    def questions(self) -> dict[str, Mapping[str, Any]]:
        """What the client has to answer, by names of the gateway's own."""
        return {name: question for name, (question, _) in self._open.items()}

    async def ask(self, method: str, params: Mapping[str, Any], hear: Hear | None = None) -> Mapping[str, Any]:
        name, answer = f"ask-{next(self._numbers)}", asyncio.get_running_loop().create_future()
        self._open[name] = {"method": method, "params": params}, answer
        self.asked.set()
        try:
            async with asyncio.timeout(self._ask_s):
                return await answer  # type: ignore[no-any-return]  # a future made here
        except TimeoutError:
            raise AskRefused(-32001, "The client did not answer in time") from None
        finally:
            del self._open[name]

    def answer(self, responses: Mapping[str, Any]) -> None:
        """Take a client's answers; one that is no object, or to no question, is none."""
        for name, (_, answer) in self._open.items():
            response = responses.get(name)
            if isinstance(response, Mapping) and not answer.done():
                answer.set_result(response)
