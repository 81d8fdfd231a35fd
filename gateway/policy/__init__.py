"""Decides whether an agent may make a call: Cedar policies over typed arguments and typed facts (POLICY.md)."""

from gateway.policy.allow import compile_allow
from gateway.policy.approve import (
    MOST_PEOPLE,
    SELF_APPROVAL,
    approved,
    could_be_approved,
    could_be_granted,
    may_approve,
    may_join,
    people_needed,
)
from gateway.policy.bundle import Bundle
from gateway.policy.config import Require, Rule, WorkflowSection
from gateway.policy.decide import decide
from gateway.policy.deeds import may_do, on_environment, on_run, on_scope
from gateway.policy.drafts import compile_drafts
from gateway.policy.entities import AgentEntity, ServerEntity, is_open_world
from gateway.policy.explain import Explanation, Verdict, explain
from gateway.policy.fields import field_problems
from gateway.policy.given import Question, decision_input, from_json, to_json
from gateway.policy.matrix import asks_named, matrix, may, may_ask, visible
from gateway.policy.outlook import Outlook
from gateway.policy.phases import PHASE, phased
from gateway.policy.policies import LoadOptions, Policy
from gateway.policy.problem import PolicyLoadError
from gateway.policy.quarantine import compile_quarantine
from gateway.policy.reach import open_to_any
from gateway.policy.recorded import bundle_from
from gateway.policy.separation import compile_separation
from gateway.policy.source import PolicySource, sources_under
from gateway.policy.sugar import compile_workflows
from gateway.policy.temporal import lowered
from gateway.policy.tighten import allowing, keeping_to
from gateway.policy.trial import Trial
from gateway.policy.undecided import Undecided, compile_undecided, naming

__all__ = [
    "MOST_PEOPLE",
    "PHASE",
    "SELF_APPROVAL",
    "AgentEntity",
    "Bundle",
    "Explanation",
    "LoadOptions",
    "Outlook",
    "Policy",
    "PolicyLoadError",
    "PolicySource",
    "Question",
    "Require",
    "Rule",
    "ServerEntity",
    "Trial",
    "Undecided",
    "Verdict",
    "WorkflowSection",
    "allowing",
    "approved",
    "asks_named",
    "bundle_from",
    "compile_allow",
    "compile_drafts",
    "compile_quarantine",
    "compile_separation",
    "compile_undecided",
    "compile_workflows",
    "could_be_approved",
    "could_be_granted",
    "decide",
    "decision_input",
    "explain",
    "field_problems",
    "from_json",
    "is_open_world",
    "keeping_to",
    "lowered",
    "matrix",
    "may",
    "may_approve",
    "may_ask",
    "may_do",
    "may_join",
    "naming",
    "on_environment",
    "on_run",
    "on_scope",
    "open_to_any",
    "people_needed",
    "phased",
    "sources_under",
    "to_json",
    "visible",
]
