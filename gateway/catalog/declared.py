"""From what a rule under `tools:` says of answers to what judges them and stands in for them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from gateway.catalog.adapter import adapter, result_adapter
from gateway.catalog.answers import CacheRule, FallbackRule, LastAnswerRule
from gateway.catalog.assertions import assertions
from gateway.catalog.config import ToolRule, rule_for
from gateway.catalog.labels import is_incomplete, is_stale
from gateway.model.answers import LAST_ANSWER, PLAIN, Answers, Caching, Fallback, Label, Watch
from gateway.model.duration import milliseconds
from gateway.model.problem import Problem
from gateway.model.tool import Effect, Tool

__all__ = ["answers_of", "draft_problems", "fallback_problems", "hedge_problems", "lookup_problems"]

_LAST_ANSWER_MS: Final = 3_600_000


def answers_of(rule: ToolRule) -> Answers:
    """Return what a rule declares of a tool's answers."""
    declared = {Label.INCOMPLETE: rule.incomplete, Label.STALE: rule.stale, Label.FALLBACK: rule.fallback}
    labels = {label for label, section in declared.items() if section is not None}
    shape = rule.shape or Watch.OFF
    if shape is not Watch.OFF:
        labels.add(Label.DRIFTED)
    if rule.cache is None and rule.ensure is None and not labels:
        return PLAIN
    fallbacks = tuple(_fallback(each) for each in rule.fallback or ())
    kept = [each.within_ms for each in fallbacks if each.tool == LAST_ANSWER]
    if kept:
        labels.add(Label.STALE)
    return Answers(
        caching=_caching(rule.cache, max(kept, default=0)),
        fallbacks=fallbacks,
        incomplete=None if rule.incomplete is None else partial(is_incomplete, rule.incomplete),
        stale=None if rule.stale is None else partial(is_stale, rule.stale),
        breach=None if rule.ensure is None else assertions(rule.ensure),
        labels=frozenset(labels),
        shape=shape,
    )


def fallback_problems(tools: Sequence[Tool], servers: Collection[str]) -> list[Problem]:
    """Return what is wrong with the fallbacks of these tools: only reads have any, and only reads are any.

    `servers` are those configured. The tools of one that has never answered are not known yet: naming one is no
    problem, and until it is known it answers nothing.
    """
    known, silent = _seen(tools, servers)
    return [problem for tool in tools for problem in _problems(tool, known, silent)]


def lookup_problems(tools: Sequence[Tool], servers: Collection[str]) -> list[Problem]:
    """Return what is wrong with how calls of these tools are looked up; `servers` as above."""
    known, silent = _seen(tools, servers)
    problems = []
    for tool in tools:
        asked = "" if tool.lookup is None else tool.lookup.tool
        if not asked or (asked not in known and asked.partition(".")[0] in silent):
            continue
        other = known.get(asked)
        if other is None:
            why = f"calls of {tool.name} are looked up with {asked}, which is no tool"
        elif other.effect is not Effect.READ:
            why = f"calls of {tool.name} are looked up with {asked}, which has the effect {other.effect}"
        else:
            continue
        fix = f"correct `lookup` in what `tools:` says of {tool.name}"
        problems.append(Problem("tools", 0, 0, "lookup", why, fix))
    return problems


def draft_problems(
    rules: Mapping[str, ToolRule], agents: Collection[str], people: Collection[str]
) -> Iterator[Problem]:
    """Yield what is wrong with drafts: that nobody could ever approve one, or carry it out who is meant to."""
    for pattern, rule in rules.items():
        if rule.mode == "draft" and not people:
            why, fix = f"{pattern} makes drafts, and nobody could approve one", "add those who may under `people:`"
            yield Problem("tools", 0, 0, "mode", why, fix)
        for agent in rule.executors or ():
            if agent not in agents:
                why = f"drafts of {pattern} are to be carried out by {agent!r}, which is not under `agents:`"
                yield Problem(
                    "tools", 0, 0, "executors", why, f"correct `executors` in what `tools:` says of {pattern}"
                )


def hedge_problems(tools: Sequence[Tool], rules: dict[str, ToolRule]) -> list[Problem]:
    """Return what is wrong with asking these tools twice: only what is free and the same asked twice may be."""
    problems = []
    for tool in tools:
        if tool.hedge is None:
            continue
        if tool.effect is not Effect.READ:
            why = f"{tool.name} has the effect {tool.effect}: it is never asked twice"
        elif not tool.idempotent:
            why = f"{tool.name} is not said to be idempotent: asked twice, it may answer otherwise"
        elif rule_for(rules, tool.name).cost:
            why = f"{tool.name} has a price, which would be paid twice and reserved once"
        else:
            continue
        fix = f"take `hedge` away from {tool.name}, or say `idempotent: true` of a read for which that holds"
        problems.append(Problem("tools", 0, 0, "hedge", why, fix))
    return problems


def _seen(tools: Sequence[Tool], servers: Collection[str]) -> tuple[Mapping[str, Tool], set[str]]:
    """Return the tools by name, and the servers that were never heard of."""
    return {each.name: each for each in tools}, set(servers).difference(each.server for each in tools)


def _problems(tool: Tool, known: Mapping[str, Tool], silent: Collection[str]) -> Iterator[Problem]:
    for fallback in tool.answers.fallbacks:
        other = known.get(fallback.tool)
        if tool.effect is not Effect.READ:
            why = f"{tool.name} has the effect {tool.effect}: nothing may be done in its place"
        elif other is None and fallback.tool != LAST_ANSWER and fallback.tool.partition(".")[0] not in silent:
            why = f"{tool.name} falls back on {fallback.tool}, which is no tool"
        elif other is not None and other.effect is not Effect.READ:
            why = f"{tool.name} falls back on {other.name}, which has the effect {other.effect}"
        elif other is tool:
            why = f"{tool.name} falls back on itself"
        else:
            continue
        yield Problem("tools", 0, 0, "fallback", why, f"correct `fallback` in what `tools:` says of {tool.name}")


def _caching(rule: CacheRule | str | None, last_ms: int) -> Caching | None:
    if rule is None:
        return Caching(0, last_ms=last_ms) if last_ms else None
    if isinstance(rule, str):
        return Caching(milliseconds(rule), last_ms=last_ms)
    writes = None if rule.invalidated_by is None else tuple(rule.invalidated_by)
    return Caching(milliseconds(rule.ttl), rule.scope, writes, last_ms)


def _fallback(rule: str | FallbackRule | LastAnswerRule) -> Fallback:
    if isinstance(rule, LastAnswerRule):
        return Fallback(LAST_ANSWER, within_ms=milliseconds(rule.cached))
    if isinstance(rule, FallbackRule):
        return Fallback(rule.tool, adapter(rule.arguments), result_adapter(rule.result))
    return Fallback(rule, within_ms=_LAST_ANSWER_MS if rule == LAST_ANSWER else 0)
