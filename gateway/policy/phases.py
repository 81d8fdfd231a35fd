"""`phases:` of a workflow compiled to Cedar: what a run may do now, how it goes on, and whose consent that takes."""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from gateway.model.facts import PriorQuery, PriorScope
from gateway.model.problem import Problem
from gateway.policy.cedar import quoted
from gateway.policy.config import Phase, WorkflowSection
from gateway.policy.prior import prior_text, step_name

__all__ = ["PHASE", "Phases", "guard", "phase_problems", "phased"]

PHASE: Final = "run.phase"
"""The gateway's own tool whose latest call says which phase a run is in: a step of the run like any other."""


_CHUNK: Final = 100


def phased(workflow: WorkflowSection, tools: Sequence[str]) -> list[str]:
    """Return the tools that belong to some phase of a workflow, in order."""
    return sorted({name for phase in workflow.phases for name in _within(phase, tools)})


def _within(phase: Phase, tools: Sequence[str]) -> frozenset[str]:
    found = {name for name in tools for pattern in phase.calls if fnmatchcase(name, pattern)}
    return frozenset(found - {PHASE})


class Phases:
    """Compiles the phases of one workflow. Where it has no key, they are those of the run that the agent is in."""

    def __init__(self, name: str, workflow: WorkflowSection, tools: Sequence[str]) -> None:
        self._name = name
        self._workflow = workflow
        self._phases = workflow.phases
        self._within = {phase.name: _within(phase, tools) for phase in self._phases}
        self._step = step_name(f"{name}.phase")
        prior = f"context.prior.{self._step}"
        self._is_meant = f"context.prior has {self._step} && {self._of(f'{prior}.input')}"
        self._is_settled = f'{self._is_meant} && {prior}.status == "ok"'
        self._said = f"{prior}.input.phase"

    def policies(self) -> Iterator[str]:
        """Yield a forbid for what belongs to no phase but others, and those that guard the way from one to the next."""
        for phase in self._phases:
            yield from self._elsewhere(phase)
        yield from self._astray()
        for number, phase in enumerate(self._phases):
            yield self._entry(number, phase)
            if phase.plan is not None:
                yield from self._planned(phase, phase.plan)

    def _of(self, arguments: str) -> str:
        """Return the condition that a call of `run.phase` is about this workflow."""
        if self._workflow.key is None:
            return f"!({arguments} has workflow)"
        return f"{arguments} has workflow && {arguments}.workflow == {quoted(self._name)}"

    def _elsewhere(self, phase: Phase) -> Iterator[str]:
        """Forbid, in a phase, the calls of others: one policy for those that belong to the same ones."""
        belonging: dict[tuple[str, ...], list[str]] = {}
        for tool in sorted(frozenset().union(*self._within.values()) - self._within[phase.name]):
            places = tuple(name for name, tools in self._within.items() if tool in tools)
            belonging.setdefault(places, []).append(tool)
        parts = ((places, part) for places, tools in belonging.items() for part in _parts(tools))
        for number, (places, tools) in enumerate(parts, 1):
            here = f'This run is in the phase "{phase.name}", and this call belongs to {_either(places)}.'
            condition = f"{self._is_settled} && {self._said} == {quoted(phase.name)}"
            if phase is self._phases[0]:  # a run is in it from the beginning
                condition = f"if {self._is_meant} then {condition} else true"
            message, scope = f"{here} {self._way(phase)}", f"in [{_actions(tools)}]"
            yield self._forbid(f"{phase.name}.{number}", message, scope, condition)

    def _astray(self) -> Iterator[str]:
        """Forbid everything that belongs to a phase where nobody knows which one it is."""
        known = " || ".join(f"{self._said} == {quoted(phase.name)}" for phase in self._phases)
        message = (
            "Which phase this run is in is not known: the call of run_phase that began it did not succeed, or that "
            "phase is no longer declared. Call run_phase again with the same phase, or begin another run."
        )
        condition = f"{self._is_meant} && !({self._is_settled} && ({known}))"
        for number, tools in enumerate(_parts(sorted(frozenset().union(*self._within.values()))), 1):
            yield self._forbid(f"astray.{number}", message, f"in [{_actions(tools)}]", condition)

    def _way(self, phase: Phase) -> str:
        """Say what ends a phase."""
        onward = [other for number, other in enumerate(self._phases) if phase.name in self._before(number)]
        if not onward:
            return "It is the last one: begin another run for it."
        shown = " or ".join(f"run_phase {{{self._arguments(other)}}}" for other in onward)
        return f"{shown} ends it."

    def _arguments(self, phase: Phase) -> str:
        about = [] if self._workflow.key is None else [("workflow", self._name), ("key", f"<{self._workflow.key}>")]
        plan = [] if phase.plan is None else [("plan", f"<what you will do; {phase.plan} approve it>")]
        return ", ".join(f'"{name}": "{value}"' for name, value in [("phase", phase.name), *about, *plan])

    def _before(self, number: int) -> Sequence[str]:
        """Return the phases from which one is entered: the one before it, unless it says otherwise."""
        phase = self._phases[number]
        return phase.after if phase.after is not None else [each.name for each in self._phases[number - 1 : number]]

    def _entry(self, number: int, phase: Phase) -> str:
        """Forbid to enter a phase from any but those it may be entered from; from itself, to say it again."""
        before = self._before(number)
        settled = " || ".join(f"{self._said} == {quoted(name)}" for name in before)
        ways = f"{self._said} == {quoted(phase.name)}" + (f" || ({self._is_settled} && ({settled}))" if before else "")
        begins = "true" if number == 0 or self._phases[0].name in before else "false"
        message = (
            f'"{phase.name}" is entered from {_either(before)} only.'
            if before
            else f'A run begins with "{phase.name}".'
        )
        entering = f"{self._of('context.input')} && context.input.phase == {quoted(phase.name)}"
        condition = f"{entering} && !(if {self._is_meant} then ({ways}) else {begins})"
        return self._forbid(f"{phase.name}.entry", message, f"== {_action(PHASE)}", condition)

    def _planned(self, phase: Phase, role: str) -> Iterator[str]:
        """Forbid to enter a phase without a plan that one of a role's people approved: this very text of it."""
        entering = f"{self._of('context.input')} && context.input.phase == {quoted(phase.name)}"
        message = f'"{phase.name}" needs a plan: say it with run_phase as `plan`, and {role} are asked.'
        action = f"== {_action(PHASE)}"
        yield self._forbid(f"{phase.name}.plan", message, action, f"{entering} && !(context.input has plan)")
        consent = "context.base.approval"
        approved = f"context.base has approval && {consent}.argsMatch && {consent}.by in Gateway::Role::{quoted(role)}"
        asks = f"@obligation({quoted(f'approval:{role}')})\n"
        message = f'"{phase.name}" begins once its plan is approved.'
        yield asks + self._forbid(f"{phase.name}.approval", message, action, f"{entering} && !({approved})")
        yield (
            f"@id({quoted(self._id(f'{phase.name}.approvers'))})\n"
            f'permit (principal in Gateway::Role::{quoted(role)}, action == Gateway::Action::"approve",\n'
            f"  resource == Gateway::Tool::{quoted(PHASE)});\n"
        )

    def _id(self, name: str) -> str:
        return f"workflow.{self._name}.phase.{name}"

    def _forbid(self, name: str, message: str, action: str, condition: str) -> str:
        query = PriorQuery(self._step, PHASE, (), PriorScope.RUN)
        return (
            f"@id({quoted(self._id(name))})\n"
            f"@prior({quoted(prior_text(query))})\n"
            f"@message({quoted(message)})\n"
            f"forbid (principal, action {action}, resource)\n"
            f"when {{\n  {condition}\n}};\n"
        )


def phase_problems(workflows: Mapping[str, WorkflowSection], tools: Sequence[str]) -> Iterator[Problem]:
    """Find what is wrong with phases: patterns that nothing fits, and two workflows for the same runs."""
    keyless = [name for name, workflow in workflows.items() if workflow.phases and workflow.key is None]
    for name in keyless[1:]:
        message = f"{keyless[0]!r} and {name!r} have phases and no key: a run is in the phases of one workflow"
        yield Problem(f"workflows.{name}", 0, 0, "phases", message, "give one of them a `key`, or make them one.")
    for name, workflow in workflows.items():
        for pattern in (pattern for phase in workflow.phases for pattern in phase.calls):
            if not any(fnmatchcase(tool, pattern) for tool in tools):
                fix = "see the names in gateway.lock."
                yield Problem(f"workflows.{name}", 0, 0, "unknown_tool", f"{pattern!r} is no pinned tool", fix)


def guard(workflows: Mapping[str, WorkflowSection]) -> str:
    """Return the forbid of phases that no workflow declares."""
    known = []
    for name, workflow in workflows.items():
        if workflow.phases:
            of = "!(context.input has workflow)"
            if workflow.key is not None:
                of = f"context.input has workflow && context.input.workflow == {quoted(name)}"
            named = " || ".join(f"context.input.phase == {quoted(phase.name)}" for phase in workflow.phases)
            known.append(f"({of} && ({named}))")
    told = "; ".join(
        f"{name}: {', '.join(each.name for each in one.phases)}" for name, one in workflows.items() if one.phases
    )
    either = " ||\n  ".join(known)
    return (
        '@id("workflow.phases")\n'
        f"@message({quoted(f'There is no such phase. Those there are, by workflow: {told}.')})\n"
        f"forbid (principal, action == {_action(PHASE)}, resource)\n"
        f"unless {{\n  {either}\n}};\n"
    )


def _either(names: Sequence[str]) -> str:
    return " or ".join(f'"{name}"' for name in names)


def _action(tool: str) -> str:
    return f"Gateway::Action::{quoted(tool)}"


def _parts(tools: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield so many tools at a time that a policy about them is not too long to be read."""
    yield from (tools[start : start + _CHUNK] for start in range(0, len(tools), _CHUNK))


def _actions(tools: Sequence[str]) -> str:
    return ", ".join(map(_action, tools))
