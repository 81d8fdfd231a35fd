"""Who and what an operator has stopped, as every gateway on the same ledger sees it within a second."""

import asyncio
import contextlib
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from gateway.model.clock import Clock
from gateway.model.errors import LimitFault, StoreFault
from gateway.model.facts import RunRef
from gateway.model.identity import Identity
from gateway.model.tool import Tool
from gateway.store.ports import PauseRecord, PauseStore

__all__ = ["ALL", "KINDS", "POLL_S", "Pauses", "ScopeUnknown", "scope_of"]

ALL: Final = "all"
KINDS: Final = ("team", "agent", "server", "tool", "run")
POLL_S: Final = 0.4
_READ_S: Final = 5.0
_MAX_AGE_S: Final = 10.0
_NAME: Final = re.compile(r"\S{1,256}")


class ScopeUnknown(ValueError):
    """A text names nothing that can be stopped; it says what can."""


def scope_of(text: str) -> str:
    """Return `text` if it is a scope: `all`, or `team:`, `agent:`, `server:`, `tool:` (a pattern) or `run:` and a name.

    Raises:
        ScopeUnknown: it is none.
    """
    kind, colon, name = text.partition(":")
    if text == ALL or (colon and kind in KINDS and _NAME.fullmatch(name)):
        return text
    named = ", ".join(f"{each}:NAME" for each in KINDS)
    raise ScopeUnknown(f"{text!r} cannot be stopped: write all, or one of {named}")


class Pauses:
    """An in-memory picture of the pauses, read anew every POLL_S seconds.

    What is under way when something is stopped goes on to its end; what comes after is refused. A picture that is too
    old to be believed stops everything.
    """

    def __init__(self, store: PauseStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._pauses: Mapping[str, PauseRecord] = {}
        self._patterns: Sequence[PauseRecord] = ()
        self._read_at = float("-inf")

    async def refresh(self) -> None:
        """Read the pauses now. Raises `StoreFault`: the picture stays as it is."""
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(_READ_S):
                found = await self._store.pauses()
        except TimeoutError:
            raise StoreFault("The gateway cannot read what is paused.", detail="reading it timed out") from None
        self.take(found, began)

    def take(self, found: Sequence[PauseRecord], read_at: float) -> None:
        """Go by these from now on, as they were at `read_at` (monotonic seconds)."""
        self._pauses = {pause.scope: pause for pause in found}
        self._patterns = [pause for pause in found if pause.scope.startswith("tool:")]
        self._read_at = read_at

    async def watch(self) -> None:
        """Keep the picture fresh until cancelled."""
        while True:
            with contextlib.suppress(StoreFault):
                await self.refresh()
            await self._clock.sleep(POLL_S)

    def now(self) -> list[PauseRecord]:
        """Return what is stopped, oldest first."""
        return list(self._pauses.values())

    def check_agent(self, identity: Identity) -> None:
        """Let an agent in.

        Raises:
            LimitFault: `paused`, it or its team, one that it works for, or everything is stopped.
            StoreFault: nobody knows what is stopped.
        """
        if self._clock.monotonic() - self._read_at > _MAX_AGE_S:
            raise StoreFault("The gateway cannot read what is paused. Try again.", retry_after_s=1.0)
        if self._pauses:
            self._refuse([ALL])
            for each in (identity, *identity.delegators):
                self._refuse([f"agent:{each.agent}", *(f"team:{team}" for team in each.teams)])

    def check_tool(self, tool: Tool) -> None:
        """Let a tool be called. Raises `LimitFault`: it or its server is stopped."""
        if self._pauses:
            matching = [each.scope for each in self._patterns if fnmatchcase(tool.name, each.scope[5:])]
            self._refuse([f"server:{tool.server}", *matching])

    def check_run(self, run: RunRef) -> None:
        """Let a run go on. Raises `LimitFault`: it is stopped."""
        if self._pauses:
            self._refuse([f"run:{run.id}"])

    def _refuse(self, scopes: Sequence[str]) -> None:
        for scope in scopes:
            pause = self._pauses.get(scope)
            if pause is not None:
                what = "Everything is" if scope == ALL else f"The {scope.replace(':', ' ', 1)} is"
                why = f": {pause.reason}" if pause.reason else ""
                raise LimitFault(
                    f"{what} paused by an operator{why}. Nothing was done; wait for a person to let it go on.",
                    code="paused",
                    detail=f"{scope}, by {pause.by}",
                )
