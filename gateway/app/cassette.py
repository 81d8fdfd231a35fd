"""A gateway that only plays a recorded run back: no server behind it, and a store of its own that is thrown away."""

from types import MappingProxyType
from typing import Any, Final

from gateway.app.gateway import Gateway
from gateway.config.model import GatewayConfig, ServerSection
from gateway.home import Home
from gateway.ledger.bundles import kept_bundle
from gateway.ledger.trace import call_lines
from gateway.model.clock import SystemClock
from gateway.pipeline.cassette import Player, Tape
from gateway.pipeline.entry import Entry
from gateway.pipeline.rules import Rules
from gateway.pipeline.stages.admit import Admit
from gateway.pipeline.stages.validate import Validate
from gateway.policy import PolicyLoadError
from gateway.redaction.redactor import Redactor
from gateway.rulebook import rules_on_record
from gateway.store.memory import MemoryStore
from gateway.store.ports import EventFilter, Events, Store, TokenRecord, TokenStore

__all__ = ["Cassette", "Unplayable", "recorded_run"]

_EVERYTHING: Final = 2**31 - 1


class Unplayable(ValueError):
    """A run cannot be played back; the text says why."""


async def recorded_run(ledger: Events, run_id: str, config: GatewayConfig, redactor: Redactor) -> tuple[Tape, Rules]:
    """Return a run on record as what can be played, and what its agents were shown.

    Raises:
        Unplayable: there is nothing of it, or this version cannot read what it was decided by.
        StoreFault: the ledger cannot be read.
    """
    try:
        return await _read(ledger, run_id, config, redactor)
    except (PolicyLoadError, LookupError, TypeError, AttributeError) as error:
        raise Unplayable(f"this version of the gateway cannot read what is on record of {run_id}: {error!r}") from None


async def _read(ledger: Events, run_id: str, config: GatewayConfig, redactor: Redactor) -> tuple[Tape, Rules]:
    lines = [line async for line in call_lines(ledger, EventFilter(run_id=run_id, limit=_EVERYTHING))]
    tape = Tape(run_id, lines, redactor.record)
    if not len(tape):
        raise Unplayable(f"no call of a run {run_id!r} is on record that could be played back")
    found = [await kept_bundle(ledger, digest) for digest in tape.bundles]
    bundles = [body for body in found if body is not None]
    if not bundles:
        raise Unplayable(f"the policies that decided in {run_id} are not on record, and so not the tools either")
    try:
        return tape, rules_on_record(config, bundles)
    except ValueError as error:
        raise Unplayable(f"this version of the gateway cannot read what decided in {run_id}: {error}") from None


class _Scratch(MemoryStore):
    """Keeps what is only of now; who holds a token, and whether it still works, the gateway's own store knows."""

    def __init__(self, clock: SystemClock, tokens: TokenStore) -> None:
        super().__init__(clock)
        self._known = tokens

    async def tokens(self) -> list[TokenRecord]:
        return await self._known.tokens()


class Cassette(Gateway):
    """Serves the agents of `config` with a tape, in a folder that is thrown away; `store` knows their tokens."""

    def __init__(
        self, config: GatewayConfig, home: Home, redactor: Redactor, played: tuple[Tape, Rules], store: Store
    ) -> None:
        self._tokens = store
        self.tape, shown = played
        super().__init__(_alone(config), home, redactor)
        self.rules.current, self.policy_problem = shown, ""
        for name, server in self.tape.servers().items():
            self.upstreams.add(name, server)

    def keeps(self) -> Store:
        """Return a store that is gone with the process."""
        return _Scratch(SystemClock(), self._tokens)

    def entry(self) -> Entry:
        """Return where calls are answered from the tape."""
        door = self.authenticator, Admit(self.admission), Validate(self.redactor.found_in)
        player = Player(self.tape, door, self.rules, self.kept, (self.ids, self.clock))
        return Entry(player, self.rules, self.kept, self.looping)


def _alone(config: GatewayConfig) -> GatewayConfig:
    """Return a configuration with the same agents, and with nothing behind it, told to nobody."""
    server = ServerSection(
        store="memory:",
        environment=config.server.environment,
        list_limit=config.server.list_limit,
        result_limit=config.server.result_limit,
    )
    nothing: dict[str, Any] = dict.fromkeys(
        ("mcpServers", "tools", "workflows", "endpoints", "probes", "events"), MappingProxyType({})
    )
    silent = {"facts": None, "metrics": None, "traces": None}
    return config.model_copy(update={**nothing, **silent, "policies": [], "server": server})
