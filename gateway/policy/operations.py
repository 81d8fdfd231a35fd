"""Requests about what is no tool: a server's documents and prompts, and what a server asks of an agent's client.

A bundle is not loaded for them: their entities are made from each request.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from gateway.model.identity import Identity
from gateway.model.operation import ACTION_OF, ASKS, COMPLETE, GET_PROMPT, READ_RESOURCE
from gateway.model.remembering import remembering
from gateway.model.tool import Tool
from gateway.policy.cedar import pst
from gateway.policy.entities import (
    DOCUMENT,
    NAMESPACE,
    PROMPT,
    SERVER,
    Entity,
    ServerEntity,
    Uid,
    action_entity,
    action_of,
    part_entity,
    server_entity,
    uid,
)
from gateway.policy.need import children
from gateway.policy.outlook import Outlook, outlook_of
from gateway.policy.policies import Policy
from gateway.policy.projection import scope_of_action
from gateway.policy.situation import Request
from gateway.policy.uri import is_plain

__all__ = ["Operations"]

_SEE: Final = "see"
_AGENTS: Final = 4096
_REQUESTS: Final = 2048
_OUTLOOKS: Final = 16384
_KEPT_LENGTH: Final = 1024
"""A longer name is not remembered: names come from agents and servers, and nobody is to fill the memory with them."""


class _Subject(NamedTuple):
    """What an operation is about: a server, or its document or prompt of this name; None stands for any of them."""

    server: str
    method: str
    kind: str
    name: str | None


class Operations:
    """Builds the requests about what is no tool, and says what can be hoped for from them.

    `agent` returns the entity of an identity, and none where the agent is not known; `candidates` those of the policies
    that may concern a principal; `server` what is known of a server. `people` are those of whom anything is known.
    """

    def __init__(
        self,
        policies: Iterable[Policy],
        agent: Callable[[Identity], tuple[Entity, ...]],
        candidates: Callable[[Uid], Iterable[Policy]],
        server: Callable[[str], ServerEntity],
        people: Container[str],
    ) -> None:
        self._server = server
        self._people = people
        self._by_uri = frozenset(policy.id for policy in policies if _judges_uris(policy))
        self._agent = agent
        self._candidates = candidates
        self._about = remembering(_AGENTS, self._policies)
        self._kept_request = remembering(_REQUESTS, self._request)
        self._kept_outlook = remembering(_OUTLOOKS, self._outlook)

    def request(self, identity: Identity, tool: Tool, params: Mapping[str, Any]) -> Request:
        """Return the uids and entities of an operation; without its resource where the params name none exactly."""
        subject, exact = _subject(tool.server, tool.method, params)
        if not exact or self._is_unclear(subject, identity):
            return self._refused(identity, subject)
        build = self._request if len(subject.name or "") > _KEPT_LENGTH else self._kept_request
        return build(self._bare(identity), subject)

    def outlook(self, identity: Identity, method: str, server: str, name: str | None) -> Outlook:
        """Return what an agent can hope for from an operation on a document or prompt; None stands for any of them."""
        build = self._outlook if len(name or "") > _KEPT_LENGTH else self._kept_outlook
        found = {build(self._bare(identity), _Subject(server, method, kind, name)) for kind in _kinds(method)}
        return found.pop() if len(found) == 1 else Outlook.CONDITIONAL

    def _bare(self, identity: Identity) -> Identity:
        """Return what of an identity its entities are made of."""
        return Identity(
            identity.agent,
            method="",
            credential_id="",
            owner=identity.owner,
            teams=identity.teams,
            roles=identity.roles,
            on_behalf_of=identity.on_behalf_of if identity.on_behalf_of in self._people else None,
        )

    def _request(self, identity: Identity, subject: _Subject) -> Request:
        action = ACTION_OF.get(subject.method)
        server = server_entity(self._server(subject.server))
        entities = [*self._agent(identity), server]
        if subject.kind != SERVER:
            entities.append(part_entity(subject.kind, subject.server, subject.name))
        if action is not None:
            entities.append(action_entity(action))
        named = action_of(_writable(subject.method) if action is None else action)
        return Request(uid("Agent", identity.agent), named, _uid(subject), tuple(entities))

    def _refused(self, identity: Identity, subject: _Subject) -> Request:
        request = self._request(identity, subject)
        known = tuple(entity for entity in request.entities if entity["uid"] != request.resource)
        return replace(request, entities=known, unjudged=(_PLACES.get(subject.method, "uri"),))

    def _is_unclear(self, subject: _Subject, identity: Identity) -> bool:
        """Tell whether a policy judges by a URI that a server might take for another one."""
        if subject.kind != DOCUMENT or subject.name is None or is_plain(subject.name):
            return False
        return any(policy.id in self._by_uri for policy in self._about(identity.agent, subject.method))

    def _outlook(self, identity: Identity, subject: _Subject) -> Outlook:
        request = self._request(identity, subject)
        about = self._about(identity.agent, subject.method)
        if subject.kind == SERVER:  # nobody lists these: a forbid on `see` is not about them
            return outlook_of(about, request)
        if subject.name is not None and (not _is_exact(subject.name) or self._is_unclear(subject, identity)):
            return Outlook.NEVER
        is_known = "principal" not in request.world().missing()
        if subject.name is None and is_known and any(map(_names_one, about)):
            return Outlook.CONDITIONAL  # it may be the one that a policy names
        return outlook_of(self._about(identity.agent, subject.method, seen=True), request)

    def _policies(self, agent: str, method: str, *, seen: bool = False) -> tuple[Policy, ...]:
        """Return the policies that may concern an agent and admit a method's action; with `seen`, or its being seen."""
        return tuple(
            policy
            for policy in self._candidates(Uid(**uid("Agent", agent)))
            if _admits(policy, ACTION_OF.get(method, "")) or (seen and _admits(policy, _SEE))
        )


_PARTS: Final = frozenset({f"{NAMESPACE}::{DOCUMENT}", f"{NAMESPACE}::{PROMPT}"})
_PLACES: Final[Mapping[str, str]] = {GET_PROMPT: "name", COMPLETE: "ref"}
"""Where the params say what an operation is about; `uri` for any other method."""


def _subject(server: str, method: str, params: Mapping[str, Any]) -> tuple[_Subject, bool]:
    """Return what an operation is about, and whether the params name it exactly."""
    kind, name = _named(method, params)
    exact = isinstance(name, str) and _is_exact(name)
    text = _writable(name) if isinstance(name, str) else ""
    return _Subject(_writable(server), method, kind, text), exact


def _named(method: str, params: Mapping[str, Any]) -> tuple[str, Any]:
    if method == COMPLETE:
        ref = params.get("ref")
        ref = ref if isinstance(ref, Mapping) else {}
        is_document = ref.get("type") == "ref/resource"
        known = is_document or ref.get("type") == "ref/prompt"
        return (DOCUMENT, ref.get("uri")) if is_document else (PROMPT, ref.get("name") if known else None)
    [kind] = _kinds(method)
    return kind, "" if kind == SERVER else params.get(_PLACES.get(method, "uri"))


def _kinds(method: str) -> tuple[str, ...]:
    if method == COMPLETE:
        return PROMPT, DOCUMENT
    if method in ASKS or method not in ACTION_OF:
        return (SERVER,)
    return (PROMPT,) if method == GET_PROMPT else (DOCUMENT,)


def _uid(subject: _Subject) -> Mapping[str, str]:
    if subject.kind == SERVER:
        return uid(SERVER, subject.server)
    entity: Mapping[str, str] = part_entity(subject.kind, subject.server, subject.name)["uid"]
    return entity


def _admits(policy: Policy, name: str) -> bool:
    action = Uid(**action_of(name))
    return scope_of_action(policy.template.action, action, frozenset({action}))


def _names_one(policy: Policy) -> bool:
    return any(str(entity.type) in _PARTS for entity in pst.entity_uids(policy.template))


def _judges_uris(policy: Policy) -> bool:
    """Tell whether what a policy says of a document depends on the text of its URI."""
    about = any(_admits(policy, ACTION_OF[method]) for method in (READ_RESOURCE, COMPLETE))
    return about and (_names_one(policy) or _reads_uri(policy.template.clauses))


def _reads_uri(node: object) -> bool:
    return (isinstance(node, pst.GetAttr) and node.attr == "uri") or any(map(_reads_uri, children(node)))


def _is_exact(text: str) -> bool:
    """Tell whether a text has a form in UTF-8: one with a lone surrogate has none."""
    return text.isascii() or _writable(text) == text


def _writable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
