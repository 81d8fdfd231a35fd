"""What people do with approvals: each deed checked by the policies, and recorded with who did it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from gateway.approval.approvals import Page, Wanted
from gateway.approval.standing import MOST_USES, condition_from, opens_access
from gateway.approval.values import Approval, ApprovalRefused, Vote
from gateway.codec import digest, dump
from gateway.ledger.entries import facts_from, identity_from
from gateway.model.facts import Approver, Facts, RunRef
from gateway.model.identity import Child, Identity
from gateway.model.tool import Tool
from gateway.pipeline.consent import person_may
from gateway.pipeline.parking import Parlour
from gateway.pipeline.rules import Rules
from gateway.policy import (
    MOST_PEOPLE,
    Question,
    approved,
    decide,
    decision_input,
    from_json,
    people_needed,
    to_json,
)
from gateway.redaction.redactor import MARK
from gateway.store.runs import RunStatus

__all__ = ["Desk", "Grant", "described"]

_WHY: Final = 500


@dataclass(frozen=True, slots=True)
class Grant:
    """A standing approval as a person wants it: so many calls (`most`) of a tool by an agent, until then.

    `tool` is a name or a pattern such as "crm.*", of which the tools of today are meant. `where` are conditions on the
    arguments, such as "amount <= 100". Without `on_behalf_of` it is for whomever the agent acts, and without `run` in
    whichever run. `earned` is what was measured before, of one that was proposed. One for `access` is a grant: it opens
    what a policy permits only where there is one, and approves nothing.
    """

    agent: str
    tool: str
    most: int
    until_ms: int
    where: tuple[str, ...] = ()
    on_behalf_of: str = ""
    why: str = ""
    earned: Mapping[str, Any] = field(default_factory=dict)
    access: bool = False
    run: str = ""


class Desk:
    """Approves, denies and edits in the name of people. Every method raises `ApprovalRefused`, and says why.

    `channel` says how the people come here, and with that what shows who they are; it is on record with what they do.
    """

    def __init__(self, parlour: Parlour, channel: str = "") -> None:
        self._parlour = parlour
        self._channel = channel
        self._rules = parlour.rules
        self._approvals = parlour.approvals
        self._clock = parlour.clock
        self._redact = parlour.redact

    def through(self, channel: str) -> "Desk":
        """Return the desk as people find it who come in another way."""
        return Desk(self._parlour, channel)

    async def listed(self, *, standing: bool = False, is_open: bool = True) -> list[Approval]:
        """Return the approvals that wait or may still be used (all of them where not `is_open`), the newest first."""
        return await self._approvals.listed(standing=standing, is_open=is_open)

    async def page(self, wanted: Wanted) -> Page:
        """Return the approvals wanted, and how their list goes on. Raises `ApprovalRefused`."""
        return await self._approvals.page(wanted)

    async def known(self, by: str) -> None:
        """Let one of the configured people look; nobody else sees what others are asked."""
        self._person(by)

    async def find(self, approval_id: str) -> Approval:
        """Return an approval."""
        return await self._approvals.find(approval_id)

    async def may(self, by: str, approval: Approval) -> bool:
        """Tell whether a person may approve this, and has not."""
        return not self.why_not(by, approval)

    def why_not(self, by: str, approval: Approval, *, refusing: bool = False) -> str:
        """Return why a person may not approve (or, `refusing`, not deny) this, or nothing."""
        try:
            self._check(by, approval, refusing=refusing)
        except ApprovalRefused as refused:
            return str(refused)
        voted = not refusing and any(vote.by == by for vote in approval.consents)
        return f"{by} has approved it already." if voted else ""

    async def approve(self, by: str, approval_id: str, why: str = "") -> Approval:
        """Give a person's consent: what they saw, the agent may do, once."""
        approval = await self._approvals.find(approval_id)
        self._check(by, approval)
        if not approval.standing:
            await self._still_the_same(approval)
        return await self._approvals.approve(approval_id, self._vote(by, why), self._enough)

    async def deny(self, by: str, approval_id: str, why: str = "") -> Approval:
        """Refuse: whoever may approve may, and so may whoever the call is for."""
        approval = await self._approvals.find(approval_id)
        self._check(by, approval, refusing=True)
        if approval.standing:
            return await self.revoke(by, approval_id, why)
        return await self._approvals.deny(approval_id, self._vote(by, why, yes=False))

    async def withdraw(self, by: str, approval_id: str) -> Approval:
        """Take one's own consent back, before it is used."""
        self._person(by)
        return await self._approvals.withdraw(approval_id, self._vote(by, "", yes=False), self._enough)

    async def assign(self, by: str, approval_id: str, to: str) -> Approval:
        """Say which person is to answer: one who may; who says so may answer, or refuse for themselves."""
        approval = await self._approvals.find(approval_id)
        if approval.standing:
            raise ApprovalRefused("standing", f"{approval_id} is a standing approval: nobody has to answer it.")
        self._check(by, approval, refusing=True)
        self._check(to, approval)
        return await self._approvals.assign(approval_id, to, self._vote(by, ""))

    async def edit(self, by: str, approval_id: str, arguments: Mapping[str, Any], why: str = "") -> Approval:
        """Approve the call with other arguments instead; return the approval of that one. The old one is void.

        `arguments` are a JSON value that the codec has parsed.
        """
        old = await self._approvals.find(approval_id)
        if old.standing:
            raise ApprovalRefused("standing", f"{approval_id} is a standing approval: revoke it and grant another.")
        tool = self._still_offered(old)
        person = self._check(by, old)
        await self._still_the_same(old)
        bound = replace(old.bound, arguments_digest=self._fit(tool, arguments))
        if bound == old.bound:
            raise ApprovalRefused("unchanged", f"These are the arguments of {approval_id}: approve it as it is.")
        question = replace(_question(self._rules.current, old), tool=tool, arguments=arguments)
        bundle = self._rules.current.bundle
        given = decision_input(bundle, question.identity, tool, arguments, question.facts)
        alone = approved(bundle, given, [person], MOST_PEOPLE)
        if not alone.allowed:
            raise ApprovalRefused("policies_refuse", f"The policies would not allow that call: {alone.message}")
        vote = self._vote(by, why)
        body = {
            **old.asked,
            "arguments": arguments,
            "arguments_digest": bound.arguments_digest,
            "bound": asdict(bound),
            "given": to_json(given),
            "quorum": people_needed(bundle, given) if not decide(bundle, given).allowed else 1,
            "edited_from": approval_id,
        }
        is_enough = approved(bundle, given, [person]).allowed
        new = await self._approvals.edit(approval_id, vote, body, is_enough=is_enough)
        if not is_enough:
            self._parlour.told(new)
        return new

    async def grant(self, by: str, wanted: Grant) -> Approval:
        """Make a standing approval."""
        person, rules, now = self._person(by), self._rules.current, self._clock.now_ms()
        if not 0 < wanted.most <= MOST_USES or wanted.until_ms <= now:
            raise ApprovalRefused(
                "no_limit", f"Say for how many calls (at most {MOST_USES}) and until when in the future."
            )
        if wanted.access and not rules.bundle.reads_grants:
            raise ApprovalRefused(
                "no_grants",
                "No policy permits what a grant opens: add granted.cedar of the starter policies, or its like.",
            )
        if wanted.agent not in rules.bundle.agents:
            raise ApprovalRefused("unknown_agent", f"There is no agent {wanted.agent!r}.")
        tools = [tool for tool in rules.catalog.tools() if _is_meant(wanted.tool, tool) and not tool.quarantined]
        if not tools:
            raise ApprovalRefused("unknown_tool", f"No tool is called {wanted.tool!r}.")
        where = [condition_from(text) for text in wanted.where]
        owner = rules.bundle.agents[wanted.agent].owner
        identity = Identity(wanted.agent, "", "", owner=owner, on_behalf_of=wanted.on_behalf_of or None)
        facts = Facts(now, RunRef("", wanted.agent, "open"))
        for tool in tools:
            refusal = person_may(rules, person, Question(identity, tool, {}, facts))
            if refusal:
                raise ApprovalRefused("may_not_approve", f"{refusal}.")
        body = {
            "agent": wanted.agent,
            "on_behalf_of": wanted.on_behalf_of,
            "tool": wanted.tool,
            "tools": {tool.name: tool.digest for tool in tools},
            "where": [asdict(condition) for condition in where],
            **({"earned": wanted.earned} if wanted.earned else {}),
            **({"access": True} if wanted.access else {}),
            **({"run": wanted.run} if wanted.run else {}),
        }
        return await self._approvals.grant(body, self._vote(by, wanted.why), wanted.most, wanted.until_ms)

    async def revoke(self, by: str, approval_id: str, why: str = "") -> Approval:
        """End a standing approval."""
        approval = await self._approvals.find(approval_id)
        if not approval.standing:
            raise ApprovalRefused("not_standing", f"{approval_id} is no standing approval; deny or withdraw it.")
        self._check(by, approval, refusing=True)
        await self._approvals.void(approval, f"revoked by {by}: {why[:_WHY]}", self._channel)
        return await self._approvals.find(approval_id)

    def _vote(self, by: str, why: str, *, yes: bool = True) -> Vote:
        return Vote(by, yes, self._clock.now_ms(), why[:_WHY], self._channel)

    def _person(self, name: str) -> Approver:
        person = self._rules.current.people.get(name)
        if person is None:
            raise ApprovalRefused("unknown_person", f"Nobody is called {name!r}: add them under `people:`.")
        return person

    def _check(self, by: str, approval: Approval, *, refusing: bool = False) -> Approver:
        """Return the person if the policies let them decide this; refusing needs no other person."""
        person, rules = self._person(by), self._rules.current
        if "removed" in approval.asked:
            raise ApprovalRefused("approval_over", f"What {approval.id} was about is removed: its time is over.")
        names = approval.asked["tools"] if approval.standing else [approval.tool]
        for name in names:
            tool = rules.catalog.find(name)
            if tool is None:
                continue
            refusal = person_may(rules, person, _question(rules, approval, tool), self_too=refusing)
            if refusal:
                raise ApprovalRefused("may_not_approve", f"{refusal}.")
        if not approval.standing and not refusing:
            given = from_json(approval.asked["given"])
            alone = approved(rules.bundle, given, [person], MOST_PEOPLE)
            if not alone.allowed:
                raise ApprovalRefused("policies_refuse", f"The policies do not take {by}'s approval: {alone.message}")
        return person

    def _enough(self, approval: Approval, votes: Sequence[Vote]) -> bool:
        """Tell whether the policies would allow the call with these consents.

        What a standing approval is for is not known yet: each call that relies on it asks the policies.
        """
        if approval.standing:
            return True
        rules = self._rules.current
        people = [rules.people[vote.by] for vote in votes if vote.by in rules.people]
        given = from_json(approval.asked["given"])
        return bool(people) and approved(rules.bundle, given, people).allowed

    def _still_offered(self, approval: Approval) -> Tool:
        tool = self._rules.current.catalog.find(approval.tool)
        if tool is None:
            raise ApprovalRefused("approval_void", f"{approval.tool} is not offered any more.")
        return tool

    async def _still_the_same(self, approval: Approval) -> None:
        """End an approval that nothing could use: of other policies, another version of the tool, a cancelled run."""
        run = await self._parlour.runs.find_run(approval.bound.run) if approval.bound.run else None
        if run is not None and run.status == RunStatus.CANCELLED:
            await self._approvals.void(approval, f"{run.id} was cancelled")
            raise ApprovalRefused("approval_void", f"{run.id} was cancelled: nothing more is done in it.")
        tool, bound = self._still_offered(approval), approval.bound
        bundle = self._rules.current.bundle
        if (tool.digest, bundle.digest) != (bound.tool_digest, bound.bundle):
            what = "the policies" if tool.digest == bound.tool_digest else f"{tool.name} itself"
            await self._approvals.void(approval, f"{what} changed since")
            raise ApprovalRefused(
                "approval_void", f"{what} changed since {approval.id} was asked: the agent has to call again."
            )

    def _fit(self, tool: Tool, arguments: Mapping[str, Any]) -> str:
        broken = tool.breaks_input(arguments)
        if broken:
            raise ApprovalRefused("invalid_arguments", f"The arguments break the schema of {tool.name}: {broken}.")
        if self._redact(arguments) != arguments or MARK in dump(arguments).decode():
            raise ApprovalRefused(
                "holds_a_secret",
                "The arguments hold a secret or the mask of one, which nobody can approve: deny the call.",
            )
        return digest(arguments)


def described(approval: Approval, now_ms: int) -> dict[str, Any]:
    """Return an approval as JSON for people and programs: all of what is asked, nothing cut."""
    asked = approval.asked
    told: dict[str, Any] = {
        "id": approval.id,
        "state": approval.status(now_ms),
        "agent": approval.agent,
        "on_behalf_of": approval.on_behalf_of,
        "tool": approval.tool,
        "asked_ms": approval.asked_ms,
        "until_ms": approval.until_ms,
        "votes": [vote.told() for vote in approval.votes],
        "used": approval.used,
        "most": approval.most,
    }
    if approval.standing:
        earned = {"earned": asked["earned"]} if "earned" in asked else {}
        narrowed = {"run": asked["run"]} if "run" in asked else {}
        opened = {"access": True} if opens_access(approval) else {}
        return {**told, "tools": sorted(asked["tools"]), "where": list(asked["where"]), **earned, **narrowed, **opened}
    decision, child = asked["decision"], _child(asked)
    return {
        **told,
        "child": "" if child is None else child.name,
        "run": approval.run,
        "owner": asked["asker"]["owner"],
        "effect": asked["effect"],
        "server": asked.get("server", {}),
        "who": list(approval.who),
        "assigned": approval.assigned,
        "due_ms": approval.due_ms,
        "overdue": approval.overdue,
        "quorum": approval.quorum,
        "message": decision["message"],
        "policies": decision["policies"],
        "arguments": asked["arguments"],
        "arguments_digest": asked["arguments_digest"],
        **({"draft": True} if asked.get("draft", False) else {}),
        "edited_from": asked.get("edited_from", ""),
        "edited_to": approval.edited_to,
    }


def _child(asked: Mapping[str, Any]) -> Child | None:
    """Return the child that asked, where it was one; what retention removed tells of none."""
    return identity_from(asked).child if "identity" in asked else None


def _question(rules: Rules, approval: Approval, tool: Tool | None = None) -> Question:
    asked = approval.asked
    if approval.standing:
        agent = rules.bundle.agents.get(approval.agent)
        owner = agent.owner if agent is not None else ""
        identity = Identity(approval.agent, "", "", owner=owner, on_behalf_of=approval.on_behalf_of or None)
        assert tool is not None
        return Question(identity, tool, {}, Facts(approval.asked_ms, RunRef("", approval.agent, "open")))
    asker = asked["asker"]
    identity = Identity(
        approval.agent,
        "",
        "",
        owner=asker["owner"],
        teams=tuple(asker["teams"]),
        roles=tuple(asker["roles"]),
        on_behalf_of=approval.on_behalf_of or None,
        scopes=tuple(asker["scopes"]),
        child=_child(asked),
    )
    found = tool or rules.catalog.find(approval.tool)
    assert found is not None
    return Question(identity, found, asked["arguments"], facts_from(asked))


def _is_meant(pattern: str, tool: Tool) -> bool:
    if pattern.endswith("*"):
        return tool.name.startswith(pattern[:-1])
    return tool.name == pattern
