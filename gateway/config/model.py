"""The whole of `gateway.yaml`: the sections the concepts define, composed."""

import re
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from gateway.approval.config import ApprovalsSection, People
from gateway.approval.own_tools import APPROVALS_SERVER
from gateway.budget.config import BudgetsSection
from gateway.catalog.config import EndpointSection, ListLimit, ResultLimit, ToolRule
from gateway.catalog.own_tools import RESULTS_SERVER, TOOLS_SERVER
from gateway.connector.about import About
from gateway.connector.registry import ABOUT, STANDING
from gateway.facts.config import FactsSection
from gateway.facts.own_tools import FACTS_SERVER
from gateway.identity.config import Agents, IdentityConfig
from gateway.ledger.config import LedgerSection
from gateway.loop.config import LoopsSection
from gateway.pipeline.receivers import Events
from gateway.policy.config import StandingSection, WorkflowSection
from gateway.resilience.config import Objective, Objectives, Probes, ResilienceConfig
from gateway.taint.config import TaintSection
from gateway.telemetry.config import MetricsSection, TracesSection
from gateway.workflow.own_tools import OWN_SERVER

__all__ = ["OWN_SERVERS", "GatewayConfig", "ServerSection"]

OWN_SERVERS: Final = frozenset({APPROVALS_SERVER, FACTS_SERVER, OWN_SERVER, RESULTS_SERVER, TOOLS_SERVER})
"""The names under which the gateway's own tools stand."""

_LISTEN: Final = re.compile(r"(?P<host>\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):(?P<port>\d{1,5})")


_ORIGIN: Final = re.compile(r"https?://(\[[0-9a-f:]+\]|[a-z0-9.-]+)(:\d{1,5})?")


def _address(text: str) -> str:
    found = _LISTEN.fullmatch(text)
    if found is None or int(found["port"]) > 65535:
        raise ValueError("an address to listen on is HOST:PORT, such as 127.0.0.1:8750; port 0 takes a free one")
    return text


def _store(url: str) -> str:
    if url != "memory:" and not (url.startswith("sqlite:///") and len(url) > len("sqlite:///")):
        raise ValueError("a store is sqlite:///FILE (beside this file unless absolute) or memory: (nothing is kept)")
    return url


def _public(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("a public URL is http(s)://HOST, without credentials, query and fragment")
    return url


def _origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text):
        raise ValueError("an origin is what a browser calls a page's: http(s)://HOST, in small letters, without a path")
    return text


class ServerSection(BaseModel):
    """Where the gateway listens and keeps its ledger."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    listen: Annotated[str, AfterValidator(_address)] = Field(
        "127.0.0.1:8750", description="HOST:PORT for agents (/mcp). Port 0 takes a free one."
    )
    store: Annotated[str, AfterValidator(_store)] = Field(
        "sqlite:///gateway.db",
        description="The ledger: sqlite:///FILE, relative to this file, or memory: for a trial that keeps nothing.",
    )
    public_url: Annotated[str, AfterValidator(_public)] | None = Field(
        None, description="The URL agents use when it is not the address listened on, as behind a proxy."
    )
    origins: tuple[Annotated[str, AfterValidator(_origin)], ...] = Field(
        (),
        description="Origins whose web pages may use MCP with an agent's token, such as http://localhost:6274 for the "
        "MCP Inspector. No other page may.",
    )
    environment: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")] = Field(
        "production", description="What policies see as the environment."
    )

    log: Literal["text", "json"] = Field("text", description="How log lines are written on standard error.")
    early_reads: bool = Field(
        False, description="Answer a read before its row is committed: faster, and a crash may lose the last rows."
    )

    new_servers: Literal["held", "open"] = Field(
        "held",
        description="What a wildcard in `allow:` or a policy opens of a server that comes after the others: held, "
        "nothing before a person decides (`toolgate schema approve`), unless an agent's `allow:` names it; open, all.",
    )
    list_limit: ListLimit = Field(
        150, description="How many tools an agent is listed; who may see more finds them with tools_search."
    )
    result_limit: ResultLimit = Field(
        "none",
        description="Bytes of an answer before it is cut, the rest to be read with results_read; `tools:` may say "
        "otherwise of each tool. none: answers are passed on whole.",
    )

    @property
    def host(self) -> str:
        """The host to listen on, without brackets."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port to listen on; 0 takes a free one."""
        return int(self.listen.rpartition(":")[2])


ServerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")]
"""What a server is called in tool names: `payments` in `payments.pay`."""


def _not_our_own(name: str) -> str:
    if name in OWN_SERVERS:
        raise ValueError(f"`{name}` is the name under which the gateway's own tools stand; call the server otherwise")
    return name


BehindName = Annotated[ServerName, AfterValidator(_not_our_own)]
"""What a server behind the gateway may be called."""


class GatewayConfig(BaseModel):
    """The configuration of one gateway. What is not configured is not allowed."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Toolgate configuration")

    version: Literal[1] = Field(description="The version of this format.")
    server: ServerSection = Field(
        default=ServerSection(), description="Where the gateway listens and keeps its ledger."
    )
    ledger: LedgerSection = Field(
        default=LedgerSection(), description="How the record is signed, and how long it is kept."
    )
    mcpServers: Annotated[dict[BehindName, dict[str, Any]], Field(max_length=1000)] = Field(
        default={},
        repr=False,
        description="The servers behind the gateway, as MCP hosts write them; `connector: NAME` uses a plugin. "
        "Texts may refer to ${VAR}, ${VAR:-default} and ${secret:name}. `trust` (0 to 100) and `quarantined` say how "
        "policies see the server, `about` (`owner`, `contact`, `runbook`) who answers for it.",
    )
    tools: Annotated[dict[str, ToolRule], Field(max_length=10_000)] = Field(
        default={}, description='What the operator says of tools, by name or pattern such as "payments.*".'
    )
    agents: Agents = Field(default={}, description="Who may call: agent name → owner, credential, tools.")
    people: People = Field(
        default={}, repr=False, description="Who may be asked for approvals; policies say who for what."
    )
    approvals: ApprovalsSection = Field(
        default=ApprovalsSection(), description="How long people are asked, and how long their consent is good for."
    )
    budgets: BudgetsSection = Field(
        default=BudgetsSection(), description="What may be used up: by all, by a team, in a run, of a tool."
    )
    facts: FactsSection | None = Field(
        None, description="Facts that agents keep, and which of them policies can read; offered where this is given."
    )
    loops: LoopsSection = Field(
        default=LoopsSection(), description="When agents that go round in circles are warned, and stopped."
    )
    identity: IdentityConfig = Field(default=IdentityConfig(), description="What all agents' credentials share.")
    workflows: Annotated[dict[str, WorkflowSection], Field(max_length=1000)] = Field(
        default={}, description="Which calls need which earlier calls; compiled to Cedar."
    )
    taint: TaintSection = Field(
        default=TaintSection(),
        description="What counts as untrusted and private, for policies that heed what an agent has read.",
    )
    policies: Annotated[list[str], Field(max_length=100)] = Field(
        default=[], description="Cedar files and folders, relative to this file."
    )
    endpoints: Annotated[dict[ServerName, EndpointSection], Field(max_length=1000)] = Field(
        default={}, description="Virtual endpoints: /mcp/NAME shows a part of everything."
    )
    resilience: ResilienceConfig = Field(
        default=ResilienceConfig(), description="How hard the gateway tries, and when it stops."
    )

    probes: Probes = Field(
        default={}, description="How it is looked whether servers answer while nobody calls them: server, or *."
    )

    slo: Objectives = Field(
        default={}, description="What is expected of servers, to tell when they fail too much: server, or *."
    )

    events: Events = Field(default={}, description="Who is told of events, as CloudEvents: receiver → where, which.")

    metrics: MetricsSection | None = Field(
        None, description="Who may read `/metrics`; nothing is counted where this is not given."
    )

    traces: TracesSection | None = Field(None, description="Where spans of calls are exported to, as OTLP.")

    def standing(self) -> dict[str, StandingSection]:
        """Return what each server's entry says of the server itself. Raises `pydantic.ValidationError`."""
        return {
            name: StandingSection.model_validate({key: section[key] for key in STANDING if key in section})
            for name, section in self.mcpServers.items()
        }

    def objective(self, server: str) -> Objective | None:
        """Return what is expected of a server, or None."""
        return self.slo.get(server) or (self.slo.get("*") if server in self.mcpServers else None)

    def abouts(self) -> dict[str, About]:
        """Return who answers for the servers of which that is said. Raises `pydantic.ValidationError`."""
        sections = self.mcpServers.items()
        return {name: About.model_validate(section[ABOUT]) for name, section in sections if ABOUT in section}
