"""What a transport hands to the pipeline."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.model.back import NOBODY, Back
from gateway.model.facts import RunRef
from gateway.model.identity import ClientInfo, Credential, Identity
from gateway.model.light import light
from gateway.model.task import Begun
from gateway.model.tool import Tool

__all__ = ["CallRequest", "Caller", "DryRun", "Promise", "Repeating", "Undoing"]


@light
@dataclass(frozen=True, slots=True)
class Caller:
    """Where a request came from.

    `transport` is `http` or `stdio`; `era` the negotiated protocol version. `session` is the legacy MCP session id,
    `trace` the W3C trace id of the request; both only group calls and authorise nothing. `loopback` is True when the
    peer is on this machine; `address` is the peer's, which may be a proxy's, and on no record.
    """

    credential: Credential
    transport: str = "http"
    era: str = ""
    client: ClientInfo = field(default_factory=ClientInfo)
    session: str | None = None
    trace: str | None = None
    loopback: bool = False
    address: str = ""


@dataclass(frozen=True, slots=True)
class Undoing:
    """That a request takes back what the recorded call `call_id` did, in the name of who made it."""

    call_id: str
    identity: Identity


@dataclass(frozen=True, slots=True)
class Repeating:
    """That a request makes the recorded call `call_id`, which is in doubt, again, in the name of who made it."""

    call_id: str
    identity: Identity
    step_key: str


@dataclass(frozen=True, slots=True)
class Promise:
    """That a request makes the call that became the task `task_id` while people were asked about it, in its `run`.

    `form` is the task's. `identity` is who had made it; None where whoever asks about the task does so anew.
    """

    task_id: str
    form: str
    run: RunRef
    identity: Identity | None = None


@dataclass(frozen=True, slots=True)
class DryRun:
    """That a request is only decided: nothing is claimed, and nothing is called.

    `identity` is the agent in whose name the gateway's own operator asks; None: the caller asks for itself.
    """

    identity: Identity | None = None


@light
@dataclass(frozen=True, slots=True)
class CallRequest:
    """One governed request as the agent sent it: a `tools/call`, or what reads a resource, gets a prompt, completes.

    `arguments` is the parsed object, forwarded as it is. `meta` is `params._meta` (empty when absent). `run`, `attempt`
    and `idempotency_key` are what `_meta` or a header named, else None. `back` leads to the client while the request is
    under way. `more` are the params beside name and arguments that go on to the server. `endpoint` is the virtual
    endpoint it came through, empty for the one with everything. `known` is who a transport found the caller to be in
    this very moment, so that nobody looks at its credential twice. `operation` is what is asked for where it is no
    tool. `via` is the gateway's own tool that the agent called to have this one called, if it did. `undoes` is set on
    what the gateway itself asks for when a run is rolled back, `repeats` where it makes a call in doubt again,
    `promised` where it makes one that people have approved meanwhile; no transport sets any. `dry_run` is set where
    nothing is to be done. `task` is what a request is about that asks about a task. `draft` is the approved draft that
    it carries out, which no transport sets.
    """

    name: str
    arguments: Mapping[str, Any] = field(repr=False)
    caller: Caller
    meta: Mapping[str, Any] = field(default_factory=dict, repr=False)
    run: str | None = None
    attempt: str | None = None
    idempotency_key: str | None = None
    back: Back = NOBODY
    more: Mapping[str, Any] = field(default_factory=dict, repr=False)
    endpoint: str = ""
    known: Identity | None = None
    operation: Tool | None = None
    via: Tool | None = None
    undoes: Undoing | None = None
    task: Begun | None = None
    repeats: Repeating | None = None
    promised: Promise | None = None
    draft: str | None = None
    dry_run: DryRun | None = None
