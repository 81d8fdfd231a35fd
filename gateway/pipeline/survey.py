"""Keeps the catalog true to what the servers offer: compared at every connect, on change, and on a timer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.catalog.catalog import Declared, Live
from gateway.connector.credential import Behalf
from gateway.connector.pool import TOOLS_CHANGED, Upstreams
from gateway.connector.upstream import Definitions, Notice, Offer, ToolCall, ToolTraits, Upstream
from gateway.model.clock import Clock
from gateway.model.errors import ConnectorFault

__all__ = ["Survey"]

_LOG = logging.getLogger(__name__)
_EVERY_S: Final = 60.0
_SETTLE_S: Final = 0.2
_REST: Final = 4.0
"""How many times as long as comparing took it is let be, while some server says that its tools changed."""
_PLACES: Final = frozenset({"uri", "uriTemplate"})


async def _at_once() -> None:
    return


class Survey:
    """What each server last answered. `changed` is called with all of it whenever an answer differs from before.

    `quarantined(server, tool)` says why a tool may not be called now, or nothing: asked just before a call is sent, for
    the server may have answered while the call waited for it. `deliver` takes secrets out of what servers say of
    themselves: agents are listed it, and it is pinned.
    """

    def __init__(
        self,
        clock: Clock,
        changed: Callable[[Mapping[str, Live]], None],
        quarantined: Callable[[str, str], str] = lambda server, tool: "",
        *,
        deliver: Callable[[Any], Any] = lambda value: value,
        every_s: float = _EVERY_S,
    ) -> None:
        self._deliver = deliver
        self._clock = clock
        self._changed = changed
        self.quarantined = quarantined
        self.compared: Callable[[], Awaitable[None]] = _at_once
        """Waits until all that `changed` was called with is in force."""
        self._every_s = every_s
        self._live: dict[str, Live] = {}
        self._hint = asyncio.Event()

    @property
    def live(self) -> Mapping[str, Live]:
        """The last answer of every server that has answered since the gateway started."""
        return dict(self._live)

    def over(self, server: str, upstream: Upstream) -> Upstream:
        """Return `upstream` so that no call passes before its tools were compared with their pins."""
        return _Surveyed(server, upstream, self)

    def shown(self, found: Definitions) -> Definitions:
        """Return definitions as agents may see them. Tools and prompts keep their names: they are called by them."""
        shown: Definitions = self._deliver(found)
        if shown is found:
            return found
        return [
            {**each, "name": was["name"]} if "name" in was and _PLACES.isdisjoint(was) else each
            for was, each in zip(found, shown, strict=True)
        ]

    def offered(self, offer: Offer) -> Offer:
        """Return what a server says of itself as agents may see it."""
        said = {"capabilities": offer.capabilities, "instructions": offer.instructions}
        shown = self._deliver(said)
        return offer if shown is said else replace(offer, **shown)

    def saw(self, server: str, upstream: Upstream, definitions: Definitions) -> None:
        """Take note of what a server offers now."""
        declared = {
            name: Declared(traits.effect, traits.idempotent, traits.undo, traits.lookup)
            for definition in definitions
            if isinstance(name := definition.get("name"), str) and (traits := upstream.traits(name)) is not None
        }
        answer = Live(list(definitions), declared)
        if self._live.get(server) != answer:
            self._live[server] = answer
            self._changed(self.live)

    async def watch(self, upstreams: Upstreams) -> None:
        """Ask every server again when one says its tools changed, and every `every_s` seconds, until cancelled."""
        for name in upstreams.names():
            upstreams.get(name).on_notice(self._heard)
        took = 0.0
        while True:
            try:
                async with asyncio.timeout(self._every_s):
                    await self._hint.wait()
                # A server that changes its list a hundred times is asked once, and leaves the time to others.
                await self._clock.sleep(max(_SETTLE_S, _REST * took))
            except TimeoutError:
                pass
            self._hint.clear()
            began = self._clock.monotonic()
            try:
                await self.refresh(upstreams)
            except OSError:  # gateway.lock cannot be written; a survey that died would let every later drift pass
                _LOG.exception("the servers' tools could not be compared with their pins")
            took = self._clock.monotonic() - began

    def _heard(self, method: str, params: Mapping[str, Any]) -> None:
        del params
        if method == TOOLS_CHANGED:
            self._hint.set()

    async def refresh(self, upstreams: Upstreams) -> None:
        """Ask every server once; one that does not answer keeps its last answer."""
        for name, answer in (await upstreams.tools()).items():
            if isinstance(answer, ConnectorFault):
                _LOG.info("server %s could not list its tools: %s", name, answer.message)
        await self.compared()


class _Surveyed:
    """An upstream whose tools are compared with their pins whenever it is opened or asked for them."""

    def __init__(self, server: str, upstream: Upstream, survey: Survey) -> None:
        self._server = server
        self._upstream = upstream
        self._survey = survey

    async def open(self) -> None:
        await self._upstream.open()
        await self.tools()
        await self._survey.compared()  # a repaired server is compared before it is used again

    async def close(self) -> None:
        await self._upstream.close()

    async def tools(self) -> Definitions:
        found = self._survey.shown(await self._upstream.tools())
        self._survey.saw(self._server, self._upstream, found)
        return found

    def traits(self, tool: str) -> ToolTraits | None:
        return self._upstream.traits(tool)

    def call(self, call: ToolCall) -> Awaitable[Mapping[str, Any]]:
        if call.method == "tools/call" and (why := self._survey.quarantined(self._server, call.tool)):
            text = f"{self._server}.{call.tool} is quarantined: {why}."
            raise ConnectorFault(text, code="rejected", sent=False)  # after its call was decided
        return self._upstream.call(call)

    def offer(self) -> Offer:
        return self._survey.offered(self._upstream.offer())

    async def listed(self, method: str) -> Definitions:
        return self._survey.shown(await self._upstream.listed(method))

    def concerning(self, behalf: Behalf) -> Behalf:
        return self._upstream.concerning(behalf)

    def on_notice(self, listener: Notice) -> None:
        self._upstream.on_notice(listener)

    async def watch(self, uris: frozenset[str]) -> None:
        await self._upstream.watch(uris)
