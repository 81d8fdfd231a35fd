"""Questions to a client of 2026-07-28: answered with `input_required`, and the request goes on when it is repeated.

A call whose server asks while it is under way (the handshake eras) is parked: it waits in this process for the repeat.
One that ends before that, because its server did not wait for what it had asked, has its answer kept for the repeat.
A client that makes the very call anew, as after an answer it never got, is asked the same again.
One whose server answered with `input_required` itself is over; its `requestState` travels sealed inside ours. Either
state opens only for the same principal, endpoint, method, name and arguments, for a while, and once, also in the
processes that come after this one.
"""

import asyncio
import hashlib
import os
import secrets
from base64 import b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.codec import CodecError, digest, dump, parse
from gateway.credentials.pages import Pages
from gateway.model.back import AskRefused, Back, Hear
from gateway.model.clock import Clock
from gateway.model.identity import Identity, principal_of
from gateway.store.spending import SpentStore
from gateway.transport.back import ASK_S, HttpBack
from gateway.transport.kernel import Answer, Asked
from gateway.transport.wire import RpcError

__all__ = ["INPUT_REQUIRED", "Inputs", "ModernBack"]

_LIFE_MS: Final = int(ASK_S * 1000)
_SETTLE_S: Final = 0.005
_PAGE_S: Final = 25.0
"""How long a repeat waits for its user to have been at a page; many clients give a request up after 30 seconds."""

_NONCE: Final = 12
_MAX_PARKED: Final = 64
_MAX_ENDED: Final = 64
_MAX_ENDED_BYTES: Final = 16 * 1024 * 1024
_INVALID_PARAMS: Final = -32602
INPUT_REQUIRED: Final = "input_required"
"""What kind of result an answer is that asks for more."""

_TOO_MANY: Final = -31429
"""JSON-RPC code of "not now"; outside the range the specification reserves."""

Answering = Callable[[Asked], Coroutine[Any, Any, Answer]]


class ModernBack(Back):
    """The way back to a client that repeats its request: its latest POST carries notifications."""

    ask_s: float = ASK_S

    def __init__(self, way: HttpBack, capabilities: Mapping[str, Any]) -> None:
        self._way = way
        self._gone = ""
        self.takes_input_required = True
        self.logs_by_default = self.begins_tasks = self.was_asked = False  # not by way of the class: slower
        self.capabilities = capabilities
        self.declares = way.declares
        self.lane = way.lane
        self.log_level = way.log_level
        self.wants_progress = way.wants_progress
        self.questions: dict[str, tuple[Mapping[str, Any], asyncio.Future[Mapping[str, Any]]]] = {}
        self._asked: asyncio.Future[None] | None = None

    @property
    def asked(self) -> "asyncio.Future[None]":
        """Done while there are questions."""
        if self._asked is None:
            self._asked = asyncio.get_running_loop().create_future()
        return self._asked

    def notify(self, method: str, params: Mapping[str, Any]) -> None:
        self._way.notify(method, params)

    async def ask(self, method: str, params: Mapping[str, Any], hear: Hear | None = None) -> Mapping[str, Any]:
        if self._gone:
            raise AskRefused(-32001, self._gone)
        key = f"ask-{secrets.token_hex(4)}"
        answer: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self.questions[key] = {"method": method, "params": params}, answer
        if not self.asked.done():
            self.asked.set_result(None)
        try:
            async with asyncio.timeout(self.ask_s):
                return await answer
        except TimeoutError:
            raise AskRefused(-32001, "The client did not answer in time") from None
        finally:
            self._forget(key)

    def rejoin(self, later: "ModernBack", responses: Mapping[str, Any]) -> None:
        """Go on over a later POST of the client, which answers some of the questions."""
        self._way = later._way
        for key, (_, answer) in list(self.questions.items()):
            response = responses.get(key)
            if isinstance(response, dict) and not answer.done():
                answer.set_result(response)
                self._forget(key)

    def leave(self, why: str) -> None:
        """Have nobody wait for the client any longer."""
        self._gone = why
        for _, answer in self.questions.values():
            if not answer.done():
                answer.set_exception(AskRefused(-32001, why))

    def _forget(self, key: str) -> None:
        self.questions.pop(key, None)
        if not self.questions and self.asked.done():
            self._asked = None


@dataclass(frozen=True, slots=True)
class _Parked:
    work: "asyncio.Task[Answer]"
    back: ModernBack
    principal: str


class _Ended:
    """Calls that ended while they were parked; of too many, or too much, the oldest are forgotten."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[_Parked, int, asyncio.TimerHandle]] = OrderedDict()

    def keep(self, ticket: str, parked: _Parked) -> None:
        """Keep one for as long as its client may come back."""
        work = parked.work
        size = 0 if work.exception() is not None else len(dump(work.result().result))
        timer = asyncio.get_running_loop().call_later(ASK_S, self.take, ticket)
        self._kept[ticket] = parked, size, timer
        while len(self._kept) > _MAX_ENDED or sum(each[1] for each in self._kept.values()) > _MAX_ENDED_BYTES:
            self.take(next(iter(self._kept)))

    def take(self, ticket: str) -> _Parked | None:
        """Return one, once; None where there is none of that ticket."""
        kept = self._kept.pop(ticket, None)
        if kept is None:
            return None
        kept[2].cancel()
        return kept[0]

    def forget(self) -> None:
        """Keep nothing any longer."""
        for ticket in list(self._kept):
            self.take(ticket)


class Inputs:
    """Carries requests through as many rounds of questions as it takes. `key` seals what clients keep in between.

    `pages` are the gateway's own, to which it sends users: a repeat waits until the user has been there.
    """

    page_s: float = _PAGE_S

    def __init__(self, key: bytes, clock: Clock, store: SpentStore, pages: Pages) -> None:
        self._pages = pages
        self._cipher = AESGCM(hashlib.sha256(b"toolgate request state\0" + key).digest())
        self._clock = clock
        self._store = store
        self._parked: dict[str, _Parked] = {}
        self._ended = _Ended()
        self._alike: dict[bytes, str] = {}

    def __len__(self) -> int:
        return len(self._parked)

    async def conduct(self, asked: Asked, identity: Identity, answer: Answering) -> Answer:
        """Answer a request that may be asked about, or go on with the one that it repeats.

        Raises:
            RpcError: its `requestState` is not one for this request, or too many wait; whatever `answer` raises.
            StoreFault: it cannot be told whether its state was used before.
        """
        back = asked.back
        assert isinstance(back, ModernBack)
        state = asked.params.get("requestState")
        responses = asked.params.get("inputResponses", {})
        if not isinstance(responses, dict):
            raise RpcError(_INVALID_PARAMS, "params.inputResponses must be an object.")
        principal = principal_of(identity)
        if state is not None:
            content = await self._opened(state, _bound(asked, principal))
            if "ticket" in content:
                return await self._resumed(content["ticket"], asked, principal)
            if "page" in content:
                asked = await self._after_page(content["page"], asked)
            else:
                asked = _with_state(asked, content["state"])
        if not back.capabilities:
            return self.sealed(await answer(asked), asked, principal)
        waiting = self._alike.get(_bound(asked, principal), "") if state is None else ""
        twin = self._parked.pop(waiting, None)
        if twin is not None:
            twin.back.rejoin(back, {})
            return await self._until_asked(twin, asked)
        if sum(each.principal == principal for each in self._parked.values()) >= _MAX_PARKED:
            raise RpcError(_TOO_MANY, "Too many of your calls wait for answers already.", status=429)
        work = asyncio.ensure_future(answer(asked))
        work.add_done_callback(_looked_at)
        return await self._until_asked(_Parked(work, back, principal), asked)

    def stop(self) -> None:
        """Have no call wait for its client any longer: the gateway stops."""
        for parked in list(self._parked.values()):
            parked.back.leave("The gateway is stopping")
        self._ended.forget()

    async def _resumed(self, ticket: str, asked: Asked, principal: str) -> Answer:
        parked = self._parked.pop(ticket, None) or self._ended.take(ticket)
        if parked is None:
            raise _had_its_time()
        assert isinstance(asked.back, ModernBack)
        parked.back.rejoin(asked.back, asked.params.get("inputResponses", {}))
        return await self._until_asked(parked, asked)

    async def _until_asked(self, parked: _Parked, asked: Asked) -> Answer:
        """Return the answer of a call, or the questions that came before it: all that come close together."""
        work, back = parked.work, parked.back
        try:
            while not (work.done() or back.questions):
                either: set[asyncio.Future[Any]] = {work, back.asked}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                known = -1
                while not work.done() and known != len(back.questions):
                    known = len(back.questions)
                    await asyncio.wait({work}, timeout=_SETTLE_S)
        except asyncio.CancelledError:
            back.leave("The client has gone")
            work.cancel()
            raise
        if work.done():
            return self.sealed(work.result(), asked, parked.principal)
        ticket, bound = secrets.token_hex(16), _bound(asked, parked.principal)
        self._parked[ticket], self._alike[bound] = parked, ticket
        work.add_done_callback(lambda _: self._over(ticket, bound))
        questions = {key: question for key, (question, _) in back.questions.items()}
        state = self._seal({"ticket": ticket}, bound)
        return Answer({"resultType": INPUT_REQUIRED, "inputRequests": questions, "requestState": state})

    async def _after_page(self, page: str, asked: Asked) -> Asked:
        """Return the request as it was before its user was sent to a page of the gateway's, which no server knows of.

        A client whose user only closed the question is not sent there again by this call.
        """
        responses = asked.params.get("inputResponses", {}).values()
        actions = {str(each.get("action")) for each in responses if isinstance(each, dict)}
        if "decline" in actions:
            await self._pages.declined(page)
        elif "cancel" not in actions:
            await self._pages.settled(page, self.page_s)
        else:
            asked.back.capabilities = _without_pages(asked.back.capabilities)
        params = {key: value for key, value in asked.params.items() if key not in {"requestState", "inputResponses"}}
        return replace(asked, params=params)

    def _over(self, ticket: str, bound: bytes) -> None:
        """Take note that a call has ended; if it is parked still, its client gets to know with the repeat."""
        self._alike.pop(bound, None)
        parked = self._parked.pop(ticket, None)
        if parked is not None and not parked.work.cancelled():
            self._ended.keep(ticket, parked)

    def sealed(self, answer: Answer, asked: Asked, principal: str) -> Answer:
        """Put the server's own `requestState`, or the page that a user is sent to, inside a state of ours."""
        if answer.page:
            answer.result["requestState"] = self._seal({"page": answer.page}, _bound(asked, principal))
        elif answer.result.get("resultType") == INPUT_REQUIRED:
            state = self._seal({"state": answer.result.get("requestState")}, _bound(asked, principal))
            answer.result["requestState"] = state
        return answer

    def _seal(self, content: Mapping[str, Any], bound: bytes) -> str:
        nonce = os.urandom(_NONCE)
        plain = dump({**content, "until": self._clock.now_ms() + _LIFE_MS})
        return urlsafe_b64encode(nonce + self._cipher.encrypt(nonce, plain, bound)).decode()

    async def _opened(self, state: Any, bound: bytes) -> Mapping[str, Any]:
        try:
            raw = b64decode(state, b"-_", validate=True)
            content = parse(self._cipher.decrypt(raw[:_NONCE], raw[_NONCE:], bound))
        except (InvalidTag, ValueError, TypeError, CodecError):
            raise RpcError(_INVALID_PARAMS, "This requestState is not one for this request.") from None
        assert isinstance(content, dict)
        until, now = content["until"], self._clock.now_ms()
        if until < now:
            raise _had_its_time()
        used = raw[:_NONCE].hex()  # not the text: the same bytes have several spellings in base64
        if not await self._store.spend(used, until + 1, now):
            raise _had_its_time()
        return content


def _looked_at(work: "asyncio.Task[Answer]") -> None:
    """Take note of how a call ended whose client did not come back: it is on record, and asyncio need not complain."""
    if not work.cancelled():
        work.exception()


def _had_its_time() -> RpcError:
    return RpcError(_INVALID_PARAMS, "This requestState has had its time. Make the call anew, without it.")


def _bound(asked: Asked, principal: str) -> bytes:
    """Return what a state is good for: this principal asking just this."""
    kept = {key: value for key, value in asked.params.items() if key not in {"_meta", "inputResponses", "requestState"}}
    try:
        return digest([principal, asked.endpoint, asked.method, kept]).encode()
    except CodecError as error:
        raise RpcError(_INVALID_PARAMS, f"The params hold a value that JSON cannot carry exactly: {error}") from None


def _without_pages(capabilities: Mapping[str, Any]) -> Mapping[str, Any]:
    elicitation = {mode: each for mode, each in capabilities.get("elicitation", {}).items() if mode != "url"}
    others = {name: each for name, each in capabilities.items() if name != "elicitation"}
    return {**others, "elicitation": elicitation} if elicitation else others


def _with_state(asked: Asked, state: Any) -> Asked:
    params = {key: value for key, value in asked.params.items() if key != "requestState"}
    if state is not None:
        params["requestState"] = state
    return replace(asked, params=params)
