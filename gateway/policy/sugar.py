"""`workflows:` compiled to Cedar, for people who do not write it (POLICY.md §2)."""

import re
from collections.abc import Iterator, Mapping, Sequence

from gateway.model.answers import Label
from gateway.model.facts import PriorQuery, PriorScope
from gateway.model.problem import Problem
from gateway.model.tool import Tool
from gateway.policy.cedar import access, quoted, tested
from gateway.policy.config import Require, WorkflowSection
from gateway.policy.mapper import decimal_text
from gateway.policy.phases import Phases, guard, phase_problems
from gateway.policy.prior import prior_text, step_name
from gateway.policy.problem import PolicyLoadError
from gateway.policy.schema import ToolShapes
from gateway.policy.shape import Field, Kind, Shape, field_at, record_of
from gateway.policy.source import PolicySource

__all__ = ["compile_workflows"]

_BINDABLE = re.compile(r"[^\s,=;]+")


def compile_workflows(workflows: Mapping[str, WorkflowSection], tools: Sequence[Tool]) -> tuple[PolicySource, ...]:
    """Return a forbid for each requirement of each workflow, and those that its phases come to.

    Raises:
        PolicyLoadError: a tool is not pinned, or an argument is not declared by both tools with one type; or two
            workflows have phases for the same runs.
    """
    if not workflows:
        return ()
    shapes = {
        tool.name: ToolShapes(
            record_of(tool.input_schema), None if tool.output_schema is None else record_of(tool.output_schema)
        )
        for tool in tools
    }
    labels = {tool.name: tool.answers.labels for tool in tools}
    problems: list[Problem] = list(phase_problems(workflows, [*shapes]))
    sources: list[PolicySource] = []
    for name, workflow in workflows.items():
        compiler = _Workflow(name, workflow, shapes, labels)
        if workflow.rules:
            sources.append(PolicySource(f"workflows.{name}", "\n".join(compiler.policies())))
        phases = Phases(name, workflow, [*shapes]).policies() if workflow.phases else ()
        sources += (PolicySource(f"workflows.{name}.phases.{n}", text) for n, text in enumerate(phases, 1))
        problems += compiler.problems
    if problems:
        raise PolicyLoadError(problems)
    if any(workflow.phases for workflow in workflows.values()):
        sources.append(PolicySource("workflows", guard(workflows)))
    return tuple(sources)


class _Workflow:
    """Compiles one workflow; collects what is wrong with it."""

    def __init__(
        self,
        name: str,
        workflow: WorkflowSection,
        shapes: Mapping[str, ToolShapes],
        labels: Mapping[str, frozenset[Label]],
    ) -> None:
        self.problems: list[Problem] = []
        self._name = name
        self._workflow = workflow
        self._shapes = shapes
        self._labels = labels

    def policies(self) -> Iterator[str]:
        ids: dict[str, int] = {}
        for rule in self._workflow.rules:
            for require in rule.require:
                unknown = [tool for tool in (rule.call, require.call) if tool not in self._shapes]
                for tool in unknown:
                    self._complain("unknown_tool", f"{tool!r} is no pinned tool", "see the names in gateway.lock.")
                if not unknown:
                    name = f"workflow.{self._name}.{rule.call}.{require.call}"
                    ids[name] = ids.get(name, 0) + 1
                    suffix = f".{ids[name]}" if ids[name] > 1 else ""
                    yield self._policy(rule.call, require, name + suffix)

    def _policy(self, call: str, require: Require, name: str) -> str:
        step = step_name(name.removeprefix("workflow."))
        query = PriorQuery(step, require.call, self._bindings(require), require.scope, None, require.once)
        conditions = " &&\n  ".join(self._conditions(call, require, f"context.prior.{step}"))
        return (
            f"@id({quoted(name)})\n"
            f"@prior({quoted(prior_text(query))})\n"
            f"@message({quoted(_message(require, self._refused(require)))})\n"
            f"@remedy({quoted(require.call)})\n"
            f"forbid (principal, action == Gateway::Action::{quoted(call)}, resource)\n"
            f"unless {{\n  {conditions}\n}};\n"
        )

    def _bindings(self, require: Require) -> tuple[tuple[str, str], ...]:
        """Find the step by the workflow's key where it must be the same, else by the first argument that must be."""
        paths = sorted(require.same, key=lambda path: path != self._workflow.key)
        kinds = {path: _kind(field_at(self._shapes[require.call].input, path.split("."))) for path in paths}
        usable = [path for path in paths if _BINDABLE.fullmatch(path) and kinds[path] not in {Kind.RECORD, Kind.SET}]
        return tuple((path, path) for path in usable[:1])

    def _conditions(self, call: str, require: Require, prior: str) -> Iterator[str]:
        yield f"context.prior has {prior.rpartition('.')[2]}"
        yield f'{prior}.status == "ok"'
        if require.once:
            yield f"!{prior}.consumed"
        for label in self._refused(require):
            yield f"!{prior}.labels.contains({quoted(label)})"
        if require.scope is not PriorScope.USER:
            yield f"{prior}.by == principal"
        yield from self._results(require, prior)
        for path in require.same:
            yield from self._equality(call, require.call, path, prior)
        age = f"context.base.now.durationSince({prior}.at)"
        yield f'{age} >= duration("0s")'
        if require.within is not None:
            yield f"{age} <= duration({quoted(require.within)})"

    def _refused(self, require: Require) -> list[Label]:
        """Return the labels that the tool's answers can carry and this requirement does not take."""
        return sorted(self._labels[require.call].difference(require.accept))

    def _equality(self, call: str, step: str, path: str, prior: str) -> Iterator[str]:
        here = field_at(self._shapes[call].input, path.split("."))
        there = field_at(self._shapes[step].input, path.split("."))
        kinds = {_kind(here), _kind(there)}
        if None in kinds or len(kinds) > 1:
            message = f"`same: {path}` is not declared with one type by both {call} and {step}"
            self._complain("same", message, "name an argument that both tools have.")
            return
        yield from _presence("context.input", path, self._shapes[call].input)
        yield from _presence(f"{prior}.input", path, self._shapes[step].input)
        yield f"{access(f'{prior}.input', path)} == {access('context.input', path)}"

    def _results(self, require: Require, prior: str) -> Iterator[str]:
        output = self._shapes[require.call].output
        if require.where and output is not None:
            yield f"{prior} has output"
        for path, wanted in require.where.items():
            found = None if output is None else field_at(output, path.split("."))
            literal = _literal(wanted, _kind(found))
            if output is None or literal is None:
                message = f"`where: {path}` is not a result of {require.call} that can equal {wanted!r}"
                self._complain("where", message, "name a result that the tool's output schema declares.")
                return
            yield from _presence(f"{prior}.output", path, output)
            yield f"{access(f'{prior}.output', path)} == {literal}"

    def _complain(self, code: str, message: str, fix: str) -> None:
        self.problems.append(Problem(f"workflows.{self._name}", 0, 0, code, message, fix))


def _kind(found: Field | None) -> Kind | None:
    return None if found is None or found.shape is None else found.shape.kind


def _message(require: Require, refused: Sequence[Label]) -> str:
    same = f" for the same {', '.join(require.same)}" if require.same else ""
    where = "".join(f", with {path} {wanted}" for path, wanted in require.where.items())
    within = f" in the last {require.within}" if require.within else ""
    once = "; each such call serves once" if require.once else ""
    labels = f"; an answer labelled {' or '.join(refused)} does not count" if refused else ""
    return f"{require.call} must have succeeded{same}{where}{within}{once}{labels}."


def _presence(root: str, path: str, shape: Shape) -> Iterator[str]:
    """Yield the tests strict validation wants before an attribute that may be absent is read."""
    names = path.split(".")
    for depth, name in enumerate(names):
        found = field_at(shape, names[: depth + 1])
        if found is None or not found.required:
            holder = access(root, ".".join(names[:depth])) if depth else root
            yield tested(holder, name)


def _literal(value: bool | int | float | str, kind: Kind | None) -> str | None:
    """Return a value as Cedar of a type; None where it is not of that type."""
    if kind is Kind.BOOL and isinstance(value, bool):
        return "true" if value else "false"
    if kind is Kind.STRING and isinstance(value, str):
        return quoted(value)
    if kind is Kind.LONG and type(value) is int:
        return str(value)
    decimal = decimal_text(value) if kind is Kind.DECIMAL else None
    return None if decimal is None else f'decimal("{decimal}")'
