"""Builds the parts of a gateway, and keeps the rules in force in step with configuration, lock and servers."""

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from typing import Any, Final

from gateway.app.building import Builds
from gateway.app.opening import open_heads, open_store, policy_trial
from gateway.catalog.catalog import Live, pin_new, why_held
from gateway.catalog.lock import Lock
from gateway.catalog.names import canonical_name
from gateway.config.model import OWN_SERVERS, GatewayConfig
from gateway.connector import Surroundings
from gateway.connector.about import UNSAID
from gateway.connector.pool import Upstreams
from gateway.credentials.keeper import Keeper
from gateway.credentials.pages import Pages
from gateway.credentials.visitors import Visitors
from gateway.home import Home
from gateway.identity.authenticator import Authenticator, Trust
from gateway.identity.children import Children
from gateway.identity.inventory import Inventory
from gateway.identity.key_source import KeyRing
from gateway.identity.local import load_local_key
from gateway.identity.metadata import challenge, resource_metadata
from gateway.identity.people import PeopleDoor
from gateway.identity.recognising import Known, Recognising
from gateway.identity.token_index import TokenIndex
from gateway.ledger.recollection import Recollections
from gateway.ledger.recorder import Recorder
from gateway.ledger.signing import SigningKey
from gateway.model.clock import Clock, IdSource, RandomIds
from gateway.model.errors import IdentityFault
from gateway.model.identity import Identity
from gateway.model.request import CallRequest
from gateway.pause.pauses import Pauses
from gateway.pipeline.approving import Approving, Ground
from gateway.pipeline.asking import Asking
from gateway.pipeline.directory import Directory
from gateway.pipeline.doubts import Asked, Doubts
from gateway.pipeline.drift import Drift
from gateway.pipeline.elicited import Elicited
from gateway.pipeline.entry import Entry
from gateway.pipeline.fact_tools import FactGround, FactTools
from gateway.pipeline.hooks import Hooks
from gateway.pipeline.kept import Kept
from gateway.pipeline.listing import Listing
from gateway.pipeline.looping import Looping
from gateway.pipeline.notices import Notices
from gateway.pipeline.outbox import Outbox
from gateway.pipeline.parked import Lobby, Parked
from gateway.pipeline.polling import Polling
from gateway.pipeline.rules import Rules, RulesInForce
from gateway.pipeline.runner import Runner
from gateway.pipeline.safe import Safe
from gateway.pipeline.sealing import Seal
from gateway.pipeline.shaping import Shaping
from gateway.pipeline.strangers import Strangers
from gateway.pipeline.survey import Survey
from gateway.pipeline.tainting import Tainting
from gateway.pipeline.task_requests import TaskRequests
from gateway.pipeline.tasks import Shelter, Tasks
from gateway.policy import PHASE, PolicyLoadError, may_ask
from gateway.redaction.redactor import Redactor
from gateway.resilience.admission import Admission
from gateway.resilience.executor import Executor
from gateway.resilience.owned import OwnedTasks
from gateway.resilience.probing import Probing, Watched
from gateway.rulebook import (
    Written,
    asked_without_policies,
    build_rules,
    read_policies,
    recatalogued,
    rules_without_policies,
)
from gateway.store.ports import Store
from gateway.taint.taints import Taints
from gateway.telemetry.calls import CallCounts
from gateway.transport.leases import Leases
from gateway.workflow.runs import Runs

__all__ = ["Parts"]

_LOG = logging.getLogger(__name__)
_FEW: Final = 200
"""From so many tools rules are built at once: a thread that works beside the calls slows all that come meanwhile."""
_MODES: Final[Mapping[str, Any]] = {"elicitation": {"form": {}, "url": {}}}
"""Ways of asking that a server is told of, so that it offers what needs them; a call says what its client can do."""


def _as_agent(name: str) -> Identity:
    """Return an agent as one that may call: what its own token says of it is not known here."""
    return Identity(name, method="", credential_id="")


class Parts:
    """Everything a gateway is made of, built and not yet open. `runner` is set when it starts."""

    runner: Runner
    counts: CallCounts | None = None  # where somebody may read metrics
    _loud = logging.DEBUG  # while servers are still answering for the first time

    def __init__(self, config: GatewayConfig, home: Home, redactor: Redactor, clock: Clock) -> None:
        self.config = config
        self.home = home
        self.redactor = redactor
        self.clock = clock
        self.ids: IdSource = RandomIds()
        self.local_key = load_local_key(home.path / config.identity.local_key)
        self.store = self.keeps()
        self.signing = SigningKey.load(home.private)
        self.heads = open_heads(config, home, self.store, self.clock)
        self.credentials = Keeper(home.private, self.clock, redactor.hold, self.store)
        self.surroundings = self._surroundings()
        self.upstreams = Upstreams(self.surroundings)
        self.survey, self.builds = self._survey()
        self.pauses = Pauses(self.store, self.clock)
        self.admission = Admission(self.clock, config.resilience.rate_limit, self.pauses.check_agent)
        self.executor = Executor(self.clock, self.ids, config.resilience)
        self.inventory = Inventory(self.store, self.clock)
        self.leases = Leases()
        self.trial = policy_trial(home)
        self.policy_problem = self.refused_problem = ""  # the latter is of files that are not in force
        self.written: Written | PolicyLoadError = ()
        self.files_problem = ""  # kept by whoever follows the files
        self.lock = Lock.read(home.lock).begun_with(config.mcpServers)
        self.rules = RulesInForce(self._first_rules())
        self.approving = Approving(
            Ground(self.store, self.rules, self.clock, self.ids, redactor.record), config.approvals
        )
        self.fact_tools = FactTools(FactGround(self.store, self.rules, self.clock, redactor.record))
        self.owned = OwnedTasks()
        self.runs = Runs(self.store, self.clock, self.ids, stopped=self.pauses.check_run)
        self.tokens = TokenIndex(self.store, self.clock)
        self.keys = KeyRing(self.clock, home.path)
        self.outbox = self._outbox()
        self.children = Children(self.store, self.tokens, self.clock)
        self.authenticator = Authenticator(config.agents, self._trust(), self.clock)
        self.session_key = hashlib.sha256(b"toolgate session ids\0" + self.local_key).digest()
        self.listing = Listing(self.authenticator, self.admission, self.rules, self._refused, self.inventory.saw)
        self.directory = Directory(self.upstreams, self.rules)
        self.notices, self.drift = self._tellers()
        self.approving.access.shown_in(self.listing, self.notices.tools_changed)
        self.pages, self.visitors, self.strangers = self._pages()
        self.elicited = Elicited(redactor.deliver, self.pages)
        self.hooks = Hooks(self.store, self.clock, self.ids, redactor.record)
        self.looping = Looping(self.rules, self.clock, OWN_SERVERS)
        self.kept = Kept(self.rules, self.clock, self.ids)
        self.tainting = Tainting(self.rules, Taints(self.store, self.clock))
        self.recorder, self.recollections = self._recorder()
        self.shaping = Shaping(self.store, self.clock, redactor.record, OWN_SERVERS)
        self.probing = Probing(self.upstreams, self._watched(), self.store, self.clock, self.ids)
        self.asking = Asking(self.recorder, redactor, self.clock, self.ids, self.elicited)
        self.task_requests = self._tasks()
        self.doubts = Doubts(Asked(self.store, self.rules, self.executor, self.upstreams, redactor.record, self.clock))

    def keeps(self) -> Store:
        """Return what keeps the record, not yet open."""
        return open_store(self.config, self.home, self.clock)

    def entry(self) -> Entry:
        """Return where the calls of agents go in."""
        return Entry(self.runner, self.rules, self.kept, self.looping)

    def _watched(self) -> Watched:
        return Watched(
            lambda: self.config.probes,
            lambda: self.rules.current.catalog.find,
            lambda server: self.rules.current.abouts.get(server, UNSAID),
        )

    def _outbox(self) -> Outbox:
        source = self.config.server.public_url or f"urn:toolgate:{self.signing.kid}"
        return Outbox(self.store, self.config.events, self.home.private, self.clock, source)

    def _tellers(self) -> tuple[Notices, Drift]:
        """Return what tells clients and people of changes."""
        notices = Notices(self.upstreams, self.rules, self.listing, self.directory, self.clock)
        return notices, Drift(self.rules, self.store, self.clock)

    def _survey(self) -> tuple[Survey, Builds]:
        builds = Builds(self._rebuild)
        survey = Survey(self.clock, builds.ask, self._quarantined, deliver=self.redactor.deliver)
        survey.compared = builds.done
        return survey, builds

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            self.clock,
            self.ids,
            self.redactor.text,
            folder=self.home.path,
            lends=self._lends,
            credential=self.credentials.credential,
        )

    def _trust(self) -> Trust:
        return Trust(self.tokens, self.keys, self.local_key, self.config.identity.clock_skew, self.children)

    def _pages(self) -> tuple[Pages, Visitors, Strangers]:
        recognising = Recognising(self._known, PeopleDoor(self.tokens, self.clock), self.keys, self.clock)
        pages = Pages(self.credentials, self.store, recognising, self.clock)
        pages.told = self.notices.completed
        self.approving.found_at(pages.site)
        visitors = Visitors(recognising, pages.site, self.store, self.clock)
        strangers = Strangers(self.store, self.clock)
        visitors.heeds = strangers.may
        return pages, visitors, strangers

    def _known(self) -> Known:
        people = {name: (name, *person.aliases) for name, person in self.config.people.items()}
        identity = self.config.identity
        return Known(list(self.config.agents.values()), identity.logins, people, identity.clock_skew)

    def _recorder(self) -> tuple[Recorder, Recollections]:
        early = self.config.server.early_reads
        recorder = Recorder(self.store, self.clock, self.redactor, self.tainting, durable_reads=not early)
        recorder.named = self._named
        return recorder, Recollections(self.store, OWN_SERVERS, frozenset({PHASE}))

    def _named(self, request: CallRequest) -> str:
        tool = self.rules.current.catalog_at(request.endpoint).find(request.name)
        return request.name if tool is None else tool.name

    def _tasks(self) -> TaskRequests:
        shelter = Shelter(self.store, self.store, self.rules, self.clock, self.redactor.record, self.owned, self.pauses)
        polling = Polling(self.executor, self.upstreams, self.asking)
        tasks, approving = Tasks(shelter, polling), self.approving
        approving.keeps_drafts_in(Safe(self.store, Seal(self.session_key, "drafts"), self.clock))
        lobby = Lobby(
            approving.approvals,
            self.store,
            self.clock,
            self.redactor.record,
            self.owned,
            Seal(self.session_key, "waiting calls"),
        )
        return TaskRequests(tasks, polling, Parked(tasks, approving.parking, lobby))

    def _first_rules(self) -> Rules:
        try:
            self.written = self._read()
            return build_rules(self.config, self.written, self.lock, {})
        except PolicyLoadError as error:
            self.policy_problem = str(error)  # said aloud in `start`: tools nobody has pinned yet may be all it is
            return rules_without_policies(self.config, self.lock, {})

    def _read(self) -> Written:
        try:
            return read_policies(self.config, self.home, self.lock, self.trial)
        except PolicyLoadError as error:
            self.written = error  # until the files are read again, no rules can be built
            raise

    def _lends(self, server: str) -> Mapping[str, Any]:
        """Return what clients can be asked for by a server, as far as some policy lets it ask some agent.

        At the very first start none may load before the server has shown its tools, some of which it may show only to
        those who can be asked: of that it is told then too, or they would come as new ones at the next start.
        """
        bundle = self.rules.current.bundle
        methods = {method for agent in bundle.agents for method in may_ask(bundle, _as_agent(agent), server)}
        if not bundle.policies and not isinstance(self.written, PolicyLoadError):
            methods |= asked_without_policies(self.config, self.written, server)
        return {(name := method.partition("/")[0]): _MODES.get(name, {}) for method in sorted(methods)}

    async def _refused(self, request: CallRequest, error: IdentityFault) -> None:
        await self.runner.refuse(request, error)

    def challenge(self, fault: IdentityFault, presented: bool) -> str:
        """Return the `WWW-Authenticate` of a refusal; it names the metadata only where that is served."""
        served = resource_metadata(self.config.identity, self.config.agents) is not None
        return challenge(fault, presented=presented, resource=self.config.identity.resource if served else None)

    def _quarantined(self, server: str, tool: str) -> str:
        if server in self.builds.due:
            return why_held(self.lock.servers.get(server, {}), self.survey.live[server].definitions, tool)
        catalog = self.rules.current.catalog
        if server not in catalog.holding:
            return ""
        found = catalog.find(canonical_name(server, tool))
        return found.held_back if found is not None else ""

    async def _rebuild(self) -> None:
        """Servers answered with other tools than before: new servers are pinned, drift is quarantined."""
        live = self.survey.live
        if sum(len(answer.definitions) for answer in live.values()) > _FEW:
            lock = await asyncio.to_thread(self._pinned, live)
            self.rules.current, self.policy_problem = await asyncio.to_thread(self._built, lock, live)
        else:
            lock = self._pinned(live)
            self.rules.current, self.policy_problem = self._built(lock, live)
        self.lock = lock
        self.built_from(live)

    def _pinned(self, live: Mapping[str, Live]) -> Lock:
        lock = pin_new(self.lock, live, self.config.tools)
        if lock != self.lock:
            lock.write(self.home.lock)
        return lock

    def _built(self, lock: Lock, live: Mapping[str, Live]) -> tuple[Rules, str]:
        """Return new rules, and what is wrong: when the policies do not load, the old ones over the new catalog."""
        try:
            if isinstance(self.written, PolicyLoadError):
                raise self.written
            return (
                build_rules(self.config, self.written, lock, live, self.rules.current),
                self.refused_problem,
            )
        except PolicyLoadError as error:
            _LOG.log(self._loud, "the policies do not load, those in force stay:\n%s", error)
            return recatalogued(self.rules.current, self.config, lock, live), str(error)

    def built_from(self, live: Mapping[str, Live]) -> None:
        """Take note that rules are in force that were built from these answers."""
        self.builds.built_from(live, self.survey.live)
        self.rules_changed()

    def rules_changed(self) -> None:
        """Have everybody told who has to know that other rules are in force."""
        self.notices.rules_changed()
        self.drift.changed.set()
