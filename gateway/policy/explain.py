"""Why a call was decided as it was: per policy, the first condition that settled it (POLICY.md §7)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.codec import dump
from gateway.model.decision import Decision, DecisionInput
from gateway.policy.bundle import Bundle
from gateway.policy.cedar import parse, parse_many
from gateway.policy.decide import decide
from gateway.policy.need import need_of
from gateway.policy.policies import Policy
from gateway.policy.situation import Situation
from gateway.policy.source import Token, tokens

__all__ = ["Explanation", "Verdict", "explain"]

_ALL: Final = "principal, action, resource"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one policy made of a call.

    `condition` is the text of the condition that settled it, as written, and `met` whether it held: the first unmet one
    of a `when` or of a forbid's `unless`, else the whole clause that held; empty for a policy without conditions.
    `seen` are the values it looked at, by path.
    """

    policy: str
    effect: str
    applies: bool
    condition: str
    met: bool
    seen: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision and how each policy in scope came out, the determining ones first."""

    decision: Decision
    verdicts: tuple[Verdict, ...]

    def described(self) -> dict[str, Any]:
        """Return it as JSON."""
        decision = self.decision
        return {
            "allowed": decision.allowed,
            "outcome": str(decision.ruling),
            "policies": list(decision.policies),
            "message": decision.message,
            "remedies": [{"tool": remedy.tool, "arguments": dict(remedy.arguments)} for remedy in decision.remedies],
            "obligations": [f"{kind}:{value}" for kind, value in decision.obligations],
            "verdicts": [
                {
                    "policy": verdict.policy,
                    "effect": verdict.effect,
                    "applies": verdict.applies,
                    "condition": verdict.condition,
                    "holds": verdict.met,
                    "seen": dict(verdict.seen),
                }
                for verdict in self.verdicts
            ],
        }


_UNASKED: Final = frozenset({"unjudged", "outside", "beside"})
"""Notes of what is refused before any policy is asked."""


@dataclass(frozen=True, slots=True)
class _Clause:
    keyword: str
    text: str
    conjuncts: tuple[str, ...]


def explain(bundle: Bundle, given: DecisionInput) -> Explanation:
    """Decide again and say why. Slow: for people, not for the call path."""
    decision = decide(bundle, given)
    situation = bundle.situation(given)
    if situation.missing or not given.notes.keys().isdisjoint(_UNASKED):
        return Explanation(decision, ())
    clauses = {policy.id: _clauses(policy.statement.text) for policy in situation.in_scope}
    held = _held(situation, clauses, given.context)
    verdicts = [_verdict(policy, clauses[policy.id], held, given.context) for policy in situation.in_scope]
    verdicts.sort(key=lambda verdict: (verdict.policy not in decision.policies, not verdict.applies, verdict.policy))
    return Explanation(decision, tuple(verdicts))


def _held(
    situation: Situation, clauses: Mapping[str, Sequence[_Clause]], context: Mapping[str, Any]
) -> frozenset[tuple[str, str]]:
    """Return the (policy, conjunct) pairs that hold: each conjunct is put to Cedar as a permit of its own."""
    pairs = {(name, text) for name, found in clauses.items() for clause in found for text in clause.conjuncts}
    named = {f"c{number}": pair for number, pair in enumerate(sorted(pairs))}
    policies = parse_many({name: _permit(text) for name, (_, text) in named.items()})
    answer = situation.ask(policies, dump(context).decode())
    return frozenset(named[name] for name in answer.reasons)


def _permit(condition: str) -> str:
    return f"permit ({_ALL}) when {{ {condition}\n}};"  # the line break ends a comment


def _verdict(
    policy: Policy, clauses: Sequence[_Clause], held: frozenset[tuple[str, str]], context: Mapping[str, Any]
) -> Verdict:
    effect, settled = str(policy.template.effect), ("", True)
    for clause in clauses:
        unmet = next((text for text in clause.conjuncts if (policy.id, text) not in held), None)
        positive = clause.keyword == "when"
        settled = (clause.text, True) if unmet is None else (unmet, False)
        if (unmet is None) is not positive:  # an unmet `when`, or an `unless` that holds
            return Verdict(policy.id, effect, False, *settled, _seen(settled[0], context))
    return Verdict(policy.id, effect, True, *settled, _seen(settled[0], context))


def _seen(condition: str, context: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    if not condition:
        return ()
    return tuple(sorted(_leaves(need_of(parse(_permit(condition))).prune(context), "context")))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if not isinstance(value, Mapping):
        yield path, dump(value).decode()
    elif "__extn" in value:
        yield path, value["__extn"]["arg"]
    elif "__entity" in value:
        yield path, f'{value["__entity"]["type"]}::"{value["__entity"]["id"]}"'
    else:
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}")


def _clauses(text: str) -> list[_Clause]:
    """Return the `when` and `unless` clauses of a policy, with the text of their conjuncts as written."""
    found: list[_Clause] = []
    depth, start, keyword = 0, 0, ""
    body: list[Token] = []
    for token in tokens(text):
        if token.text in {"}", ")", "]"}:
            depth -= 1
            if token.text == "}" and depth == 0:
                found.append(_Clause(keyword, text[start : token.start].strip(), tuple(_conjuncts(text, body))))
        if depth > 0:
            body.append(token)
        if token.text in {"{", "(", "["}:
            depth += 1
            if token.text == "{" and depth == 1:
                start, body = token.start + 1, []
        elif depth == 0 and token.text in {"when", "unless"}:
            keyword = token.text
    return found


def _conjuncts(text: str, body: Sequence[Token]) -> Iterator[str]:
    """Cut an expression at its outermost &&; one that || or `if` governs is one piece."""
    pieces: list[list[Token]] = [[]]
    depth = 0
    for token in body:
        depth += (token.text in {"{", "(", "["}) - (token.text in {"}", ")", "]"})
        if depth == 0 and token.text in {"||", "if"}:
            pieces = [list(body)]
            break
        if depth == 0 and token.text == "&&":
            pieces.append([])
        else:
            pieces[-1].append(token)
    for piece in pieces:
        yield text[piece[0].start : piece[-1].start + len(piece[-1].text)]
