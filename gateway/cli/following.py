"""Going by the files of a gateway as they change, for as long as it runs."""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Final, Protocol

from gateway.app import Home
from gateway.cli.loaded import Loaded
from gateway.config import ConfigError, GatewayConfig, Snapshot, snapshot, watch
from gateway.model.errors import GatewayError
from gateway.redaction.redactor import Redactor

__all__ = ["Followed", "Following"]

_LOG: Final = logging.getLogger("gateway")
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0


class Followed(Protocol):
    """What is to go by the files: a gateway. `files_problem` says why it does not, or is empty."""

    files_problem: str

    async def reload(self, config: GatewayConfig) -> str: ...


class Following:
    """Has a gateway go by its files, from how they are when this is made, or were when the configuration was read.

    Whatever fails on the way is logged and tried again, after pauses that double; until then `files_problem` says so.
    """

    def __init__(self, loaded: Loaded, home: Home, redactor: Redactor, first_pause_s: float = _FIRST_PAUSE_S) -> None:
        self._loaded = loaded
        self._home = home
        self._redactor = redactor
        self._first_pause_s = first_pause_s
        self._pause_s = first_pause_s
        self._paths = self._paths_of(loaded)
        self._seen: Snapshot = {**snapshot(self._paths), **loaded.seen}
        self._missed: frozenset[Path] = frozenset()

    async def tell(self, gateway: Followed, stop: asyncio.Event) -> None:
        """Have the gateway go by the files until `stop` is set. Raises nothing, but when cancelled."""
        self._seen.update(snapshot([self._home.lock]))  # it was written by the gateway itself until now
        while not stop.is_set():
            [ended] = await asyncio.gather(self._listen(gateway, stop), return_exceptions=True)
            if ended is not None:
                gateway.files_problem = f"changes to the files have no effect at the moment ({_brief(ended)})"
                await self._rest(ended, stop)

    async def _rest(self, error: BaseException, stop: asyncio.Event) -> None:
        _LOG.error("following the files failed; trying again in %g s", self._pause_s, exc_info=error)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), self._pause_s)
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)

    async def _listen(self, gateway: Followed, stop: asyncio.Event) -> None:
        """Follow the files until others are to be followed, or `stop` is set."""
        if self._missed:
            await self._go_by(gateway, self._missed)
        paths = self._paths
        changes = watch(paths, stop, self._seen)
        async with aclosing(changes):
            async for changed in changes:
                await self._go_by(gateway, changed)
                if self._paths != paths:
                    return

    async def _go_by(self, gateway: Followed, changed: frozenset[Path]) -> None:
        self._missed |= changed
        gateway.files_problem = await self._reload(gateway, ", ".join(sorted(path.name for path in self._missed)))
        self._missed = frozenset()
        self._pause_s = self._first_pause_s

    async def _reload(self, gateway: Followed, names: str) -> str:
        """Have the gateway go by the files; return why it does not, told in the log in full."""
        try:
            fresh = self._loaded.again()
        except ConfigError as error:
            _LOG.error("%s changed, but is not valid; the old configuration stays in force:\n%s", names, error)
            return f"{names} changed, but is not valid; the old configuration stays in force: {error}"
        self._redactor.learn(fresh.secrets)
        self._follow(fresh)
        problem = await gateway.reload(fresh.config)
        if problem:
            _LOG.error("%s changed, but the policies do not load; the old ones stay in force:\n%s", names, problem)
            return f"{names} changed, but the policies do not load; the old ones stay in force"
        _LOG.info("%s changed: the new rules are in force", names)
        return ""

    def _follow(self, fresh: Loaded) -> None:
        paths = self._paths_of(fresh)
        if paths != self._paths:
            self._paths, self._seen = paths, {**snapshot(paths), **fresh.seen}

    def _paths_of(self, loaded: Loaded) -> frozenset[Path]:
        folder = loaded.path.parent
        named: Iterable[Path] = (folder / path for path in loaded.config.policies)
        secrets = self._home.private / "secrets.enc"
        return frozenset(path.absolute() for path in (loaded.path, self._home.lock, secrets, *named))


def _brief(error: BaseException) -> str:
    if isinstance(error, GatewayError):
        return f"{error.code}: {error.message}"
    return f"{type(error).__name__}: {error}"
