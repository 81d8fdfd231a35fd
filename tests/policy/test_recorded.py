"""Policies come back from the record as they were."""

from dataclasses import fields

from gateway.codec import dump, parse
from gateway.ledger.bundles import is_as_named
from gateway.model.facts import Approver
from gateway.policy import Bundle, LoadOptions, PolicySource, ServerEntity, bundle_from
from tests.pipeline.gate import rules_of
from tests.policy.acme import AGENTS, PERMIT_ALL, PRECONDITION

TOOLS = tuple(rules_of(PERMIT_ALL).bundle.tools.values())

EVERYTHING = LoadOptions(
    fulfils=frozenset({"redact", "notify"}),
    environments=("staging", "production", "lab"),
    servers=(ServerEntity("fraud", 40), ServerEntity("payments", 10, quarantined=True)),
    people={"ann@acme.example": Approver("ann", ("operators",), ("finance",))},
    facts={"budget": {"type": "number"}, "approved": {"type": "boolean"}},
    imported=True,
)
SOURCES = [
    PolicySource("all", PERMIT_ALL.replace("permit", '@obligation("redact:payee") permit')),
    PolicySource("pay", PRECONDITION),
    PolicySource(
        "budget",
        '@id("budget") forbid (principal, action == Gateway::Action::"payments.pay", resource)'
        " when { context.facts has approved && !context.facts.approved };",
    ),
]


def test_everything_that_policies_are_loaded_for_comes_back() -> None:
    defaults = LoadOptions()
    assert all(getattr(EVERYTHING, each.name) != getattr(defaults, each.name) for each in fields(LoadOptions))
    bundle = Bundle.load(SOURCES, TOOLS, AGENTS, EVERYTHING)
    written = parse(dump(bundle.record()))
    assert is_as_named(written)
    again = bundle_from(written)
    assert (again.options, again.digest, again.text) == (EVERYTHING, bundle.digest, bundle.text)
    assert again.prior_indexes == bundle.prior_indexes


def test_other_policies_are_not_those_that_were_named() -> None:
    written = parse(dump(Bundle.load(SOURCES, TOOLS, AGENTS, EVERYTHING).record()))
    assert not is_as_named({**written, "policies": []})
    assert not is_as_named({**written, "schema": {}})
    assert not is_as_named({"digest": written["digest"]})
