"""Questions to a client of 2026-07-28: answered with `input_required`, and the request goes on when it is repeated.

A call whose server asks while it is under way (the handshake eras) is parked: it waits in this process for the repeat.
One whose server answered with `input_required` itself is over; its `requestState` travels sealed inside ours. Either
state opens only for the same principal, method, name and arguments, for a while, and once.
"""

import asyncio
import hashlib
import os
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.codec import CodecError, digest, dump, parse
from gateway.model.back import AskRefused, Back
from gateway.model.clock import Clock
from gateway.transport.back import ASK_S, HttpBack
from gateway.transport.kernel import Answer, Asked
from gateway.transport.wire import RpcError

__all__ = ["Inputs", "ModernBack"]

_LIFE_MS: Final = int(ASK_S * 1000)
_MAX_PARKED: Final = 64
_MAX_USED: Final = 100_000
_INVALID_PARAMS: Final = -32602


Answering = Callable[[Asked], Coroutine[Any, Any, Answer]]


class ModernBack(Back):
    """The way back to a client that repeats its request: its latest POST carries notifications."""

    takes_input_required = True

    def __init__(self, way: HttpBack, capabilities: Mapping[str, Any], lane: str) -> None:
        self._way = way
        self.capabilities = capabilities
        self.lane = lane
        self.log_level = way.log_level
        self.wants_progress = way.wants_progress
        self.asked = asyncio.Event()
        self.questions: dict[str, tuple[Mapping[str, Any], asyncio.Future[Mapping[str, Any]]]] = {}

    def notify(self, method: str, params: Mapping[str, Any]) -> None:
        self._way.notify(method, params)

    async def ask(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        key = f"ask-{secrets.token_hex(4)}"
        answer: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self.questions[key] = {"method": method, "params": params}, answer
        self.asked.set()
        try:
            async with asyncio.timeout(ASK_S):
                return await answer
        except TimeoutError:
            raise AskRefused(-32001, "The client did not answer in time") from None
        finally:
            self.questions.pop(key, None)
            if not self.questions:
                self.asked.clear()

    def rejoin(self, later: "ModernBack", responses: Mapping[str, Any]) -> None:
        """Go on over a later POST of the client, which answers some of the questions."""
        self._way = later._way
        for key, (_, answer) in list(self.questions.items()):
            response = responses.get(key)
            if isinstance(response, dict) and not answer.done():
                answer.set_result(response)
                self.questions.pop(key)
        if not self.questions:
            self.asked.clear()


@dataclass(frozen=True, slots=True)
class _Parked:
    work: "asyncio.Task[Answer]"
    back: ModernBack
    principal: str


class Inputs:
    """Carries requests through as many rounds of questions as it takes. `key` seals what clients keep in between."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._cipher = AESGCM(hashlib.sha256(b"toolgate request state\0" + key).digest())
        self._clock = clock
        self._parked: dict[str, _Parked] = {}
        self._used: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._parked)

    async def conduct(self, asked: Asked, principal: str, answer: Answering) -> Answer:
        """Answer a request, or go on with the one that it repeats.

        Raises:
            RpcError: its `requestState` is not one for this request; whatever `answer` raises.
        """
        back = asked.back
        assert isinstance(back, ModernBack)
        state = asked.params.get("requestState")
        if state is None and not back.capabilities:  # nearly every request
            result = await answer(asked)
            asks = result.result.get("resultType") == "input_required"
            return self._sealed(result, _bound(asked, principal)) if asks else result
        bound = _bound(asked, principal)
        content: Mapping[str, Any] = {} if state is None else self._open(state, bound)
        ticket = content.get("ticket")
        if ticket is not None:
            parked = self._parked.pop(ticket, None)
            if parked is None:
                raise RpcError(_INVALID_PARAMS, "This requestState has had its time. Make the call anew, without it.")
            responses = asked.params.get("inputResponses")
            parked.back.rejoin(back, responses if isinstance(responses, dict) else {})
            return await self._until_asked(parked, bound)
        if state is not None:
            asked = _with_state(asked, content.get("state"))
        if not back.capabilities:
            return self._sealed(await answer(asked), bound)
        if sum(each.principal == principal for each in self._parked.values()) >= _MAX_PARKED:
            raise RpcError(-31429, "Too many of your calls wait for answers already.", status=429)
        work = asyncio.ensure_future(answer(asked))
        return await self._until_asked(_Parked(work, back, principal), bound)

    async def _until_asked(self, parked: _Parked, bound: str) -> Answer:
        asked = asyncio.ensure_future(parked.back.asked.wait())
        try:
            await asyncio.wait({parked.work, asked}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            parked.work.cancel()
            raise
        finally:
            asked.cancel()
        if parked.work.done():
            return self._sealed(parked.work.result(), bound)
        ticket = secrets.token_hex(16)
        self._parked[ticket] = parked
        parked.work.add_done_callback(lambda work: self._lost(ticket, work))
        questions = {key: question for key, (question, _) in parked.back.questions.items()}
        state = self._seal({"ticket": ticket}, bound)
        return Answer({"resultType": "input_required", "inputRequests": questions, "requestState": state})

    def _lost(self, ticket: str, work: "asyncio.Task[Answer]") -> None:
        """A parked call ended with nobody there: it is on record; take note of its failure, or asyncio complains."""
        if self._parked.pop(ticket, None) is not None and not work.cancelled():
            work.exception()

    def _sealed(self, answer: Answer, bound: str) -> Answer:
        """Put the server's own `requestState` inside one of ours."""
        if answer.result.get("resultType") == "input_required":
            answer.result["requestState"] = self._seal({"state": answer.result.get("requestState")}, bound)
        return answer

    def _seal(self, content: Mapping[str, Any], bound: str) -> str:
        nonce = os.urandom(12)
        plain = dump({**content, "until": self._clock.now_ms() + _LIFE_MS})
        return urlsafe_b64encode(nonce + self._cipher.encrypt(nonce, plain, bound.encode())).decode()

    def _open(self, state: Any, bound: str) -> Mapping[str, Any]:
        try:
            raw = urlsafe_b64decode(state)
            content = parse(self._cipher.decrypt(raw[:12], raw[12:], bound.encode()))
        except (InvalidTag, ValueError, TypeError, CodecError):
            raise RpcError(_INVALID_PARAMS, "This requestState is not one for this request.") from None
        assert isinstance(content, dict)
        if content["until"] < self._clock.now_ms() or state in self._used:
            raise RpcError(_INVALID_PARAMS, "This requestState has had its time. Make the call anew, without it.")
        self._used[state] = None
        while len(self._used) > _MAX_USED:
            self._used.popitem(last=False)
        return content


def _bound(asked: Asked, principal: str) -> str:
    """Return what a state is good for: this principal asking just this."""
    kept = {key: value for key, value in asked.params.items() if key not in {"_meta", "inputResponses", "requestState"}}
    return digest([principal, asked.endpoint, asked.method, kept])


def _with_state(asked: Asked, state: str | None) -> Asked:
    params = {key: value for key, value in asked.params.items() if key != "requestState"}
    if state is not None:
        params["requestState"] = state
    return Asked(asked.method, params, asked.caller, asked.headers, asked.back, asked.endpoint)
