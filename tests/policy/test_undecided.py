"""A server that nobody has decided about: wildcards open nothing of it, but to agents whose list names it."""

from gateway.model.facts import Approver
from gateway.model.identity import Identity
from gateway.policy import (
    Bundle,
    Outlook,
    Question,
    Undecided,
    compile_allow,
    compile_undecided,
    may,
    may_approve,
    naming,
    open_to_any,
    visible,
)
from tests.policy.acme import CHECK, LIST, PAY, PAYER, PAYMENT, PERMIT_ALL, ask, facts, load

READER = Identity("reader", "token", "t")
EVERYTHING = '@id("every") permit (principal, action, resource);'


def bundle_with(allowed: dict[str, list[str]], *reviewed: str, permit: str = EVERYTHING) -> Bundle:
    return load(permit, *(one.text for one in compile_undecided([Undecided("payments", reviewed)], allowed)))


def test_nothing_of_it_is_open_to_whom_only_a_wildcard_lets_in() -> None:
    bundle = bundle_with({"payer": ["*"], "reader": ["pay*.list"]})
    for who in (PAYER, READER):
        assert not visible(bundle, who, LIST)
        assert may(bundle, who, "resources/read", "payments", None) is Outlook.NEVER
        assert may(bundle, who, "resources/read", "fraud", None) is not Outlook.NEVER
    refused = ask(bundle, PAY, PAYMENT)
    assert refused.policies == ("new.payments.tools",)
    assert 'toolgate schema approve "payments.*"' in refused.message
    assert ask(bundle, CHECK, PAYMENT).allowed


def test_whoever_is_let_in_by_its_name_is() -> None:
    bundle = bundle_with({"payer": ["*"], "reader": ["payments.list"]})
    assert (visible(bundle, READER, LIST), visible(bundle, PAYER, LIST)) == (True, False)
    assert may(bundle, READER, "prompts/get", "payments", None) is not Outlook.NEVER
    assert naming("payments", {"a": ["payments.*"], "b": ["*"], "c": ["payments"], "d": ["pay*.x"]}) == ["a", "c"]


def test_a_tool_that_a_person_has_approved_is_open_and_the_others_are_not() -> None:
    bundle = bundle_with({}, "payments.list")
    assert (visible(bundle, PAYER, LIST), visible(bundle, PAYER, PAY)) == (True, False)
    assert may(bundle, PAYER, "resources/read", "payments", None) is Outlook.NEVER


def test_people_may_still_approve_what_is_asked_about_it() -> None:
    bundle = bundle_with({})
    assert may_approve(bundle, Approver("bob"), Question(PAYER, PAY, PAYMENT, facts())).allowed


def test_where_every_server_is_decided_about_nothing_is_compiled() -> None:
    assert compile_undecided([], {"payer": ["*"]}) == ()


def test_to_whom_any_server_is_open_is_told_with_what_opens_it() -> None:
    lists = compile_allow({"payer": ["*"], "reader": ["payments.*", "fraud.check"]})
    assert open_to_any(load(*(one.text for one in lists))) == {"payer": ["allow.payer"]}
    narrow = (
        '@id("one") permit (principal, action == Gateway::Action::"payments.list", resource);',
        '@id("named") permit (principal, action, resource in Gateway::Server::"payments");',
        '@id("team") permit (principal in Gateway::Team::"finance", action in Gateway::Action::"call_tool", resource);',
        '@id("granted") permit (principal, action, resource) when { context.base has grant };',
        '@id("shadow") @mode("shadow") permit (principal, action, resource);',
        '@id("never") forbid (principal, action, resource);',
    )
    assert open_to_any(load(*narrow)) == {"payer": ["team"]}
    assert open_to_any(load(PERMIT_ALL)) == {"payer": ["all"], "reader": ["all"]}
