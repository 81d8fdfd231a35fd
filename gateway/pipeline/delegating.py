"""`run.delegate` and `run.revoke`: an agent hands a part of what it may do on to a child, and takes it back."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from gateway.identity.delegations import Delegations, Handed, Wanted, is_scope
from gateway.model.call import Call
from gateway.model.errors import RequestFault
from gateway.model.identity import Identity
from gateway.model.operation import ACTION_OF, operation
from gateway.pipeline.rules import RulesInForce
from gateway.policy import visible
from gateway.workflow.own_tools import DEFAULT_TTL_S, OWN_SERVER

__all__ = ["Delegating"]

OwnTool = Callable[[Call], Awaitable[Mapping[str, Any]]]


class Delegating:
    """The tools as agents use them. A child's token is in the answer alone: what is put on record has it masked."""

    def __init__(self, delegations: Delegations, rules: RulesInForce) -> None:
        self._delegations = delegations
        self._rules = rules

    @property
    def own_tools(self) -> Mapping[str, OwnTool]:
        """What carries the tools out, by their names."""
        return {f"{OWN_SERVER}.delegate": self.delegate, f"{OWN_SERVER}.revoke": self.revoke}

    async def delegate(self, call: Call) -> Mapping[str, Any]:
        """Make a child of the caller in its run. Raises `RequestFault`, `StoreFault`."""
        asked = call.arguments
        usable = dict(self._usable(call, call.identity))
        scopes = tuple(dict.fromkeys(scope for text in asked["scopes"] for scope in _scopes(usable, text)))
        ttl_ms, run_id = asked.get("ttl_s", DEFAULT_TTL_S) * 1000, call.facts.run.id
        wanted = Wanted(asked.get("name", ""), scopes, ttl_ms, run_id, asked.get("agent", ""))
        if bool(wanted.name) is bool(wanted.to):
            raise RequestFault("Say either `name`, for a new identity, or `agent`, for an agent that there is.")
        if wanted.to:
            self._check_its_own(call, wanted)
        handed = await self._delegations.hand_on(call.identity, wanted)
        made, until = handed.made, _moment(handed.made.expires_ms)
        text = (
            f"{made.name} may use {', '.join(scopes)} in run {made.run_id} until {until}, as far as you may"
            f"{_how(handed)} Take it back with run_revoke: {made.id}"
        )
        told = {"child": made.id, "name": made.name, "scopes": list(scopes), "run": made.run_id, "until": until}
        return _answer(text, {**told, **({"token": handed.token} if handed.token else {})})

    async def revoke(self, call: Call) -> Mapping[str, Any]:
        """End a child of the caller, and all under it. Raises `RequestFault`, `StoreFault`."""
        asked = call.arguments
        made = await self._delegations.take_back(call.identity, asked["child"], asked.get("reason", ""))
        return _answer(f"{made.name} is refused from now on, and all under it.", {"child": made.id})

    def _check_its_own(self, call: Call, wanted: Wanted) -> None:
        """Refuse to hand on what the other agent may not use itself: it would be granted nothing."""
        registered = self._rules.current.bundle.agents.get(wanted.to)
        if registered is None:
            return  # which is refused as such
        own = Identity(wanted.to, method="", credential_id="", on_behalf_of=call.identity.on_behalf_of)
        names = [name for name, _ in self._usable(call, own)]
        for scope in wanted.scopes:
            if not any(fnmatchcase(name, scope) for name in names):
                raise RequestFault(
                    f"{wanted.to} may use nothing of {scope} itself, so it cannot do that for you.",
                    code="delegation_refused",
                )

    def _usable(self, call: Call, identity: Identity) -> Iterator[tuple[str, str]]:
        """Yield what an agent may use in some context: the canonical name, and the name it is listed under."""
        rules = self._rules.current
        for tool in rules.catalog_at(call.request.endpoint).tools():
            if visible(rules.bundle, identity, tool):
                yield tool.name, tool.wire_name
        for server in rules.servers_at(call.request.endpoint) or rules.bundle.servers:
            for method in ACTION_OF:
                if visible(rules.bundle, identity, operation(server, method)):
                    yield f"{server}.{method}", f"{server}.{method}"


def _scopes(usable: Mapping[str, str], text: str) -> Sequence[str]:
    """Return what a text stands for, by canonical names: agents know tools by the names they are listed under.

    Raises:
        RequestFault: `delegation_refused`, the caller may use nothing of it.
    """
    if is_scope(text):
        if any(fnmatchcase(name, text) for name in usable):
            return (text,)
        listed = [name for name, wire in usable.items() if fnmatchcase(wire, text)]
        if listed:
            return listed
    raise RequestFault(
        f"You may use nothing that is called {text[:80]!a}, so you cannot hand it on. Name tools as they are listed to "
        'you, or a whole server: "files.*".',
        code="delegation_refused",
    )


def _how(handed: Handed) -> str:
    if handed.token:
        return f". It sends this token, which is shown only now: {handed.token}"
    return (
        ", and as its own policies let it. It works under its own credential, and names the run with each call (the "
        "header Toolgate-Run, or `io.toolgate/run` in `_meta`): tell it the run."
    )


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")


def _answer(text: str, structured: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"content": [{"type": "text", "text": text}], "structuredContent": structured}
