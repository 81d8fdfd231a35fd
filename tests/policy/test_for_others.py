"""A call that an agent makes for another, which handed the work on to it, is decided for both."""

from dataclasses import replace

from gateway.codec import dump, parse
from gateway.model.decision import Decision, Ruling
from gateway.model.facts import Approval, Approver, Step
from gateway.model.identity import Child, Identity
from gateway.policy import LoadOptions, Outlook, decide, decision_input, from_json, may, to_json, visible
from tests.policy.acme import PAY, PAYER, PAYMENT, PERMIT_ALL, PRECONDITION, facts, load, step

HANDED = Child("dg_1", "payer:reader", "run_1", ("*",), 1, (PAYER,))
READER = Identity("reader", "token", "t", child=HANDED)
ITS_OWN = '@id("own") permit (principal == Gateway::Agent::"reader", action, resource);'
WANTS = (
    '@id("wants") @obligation("approval:leads") forbid (principal == Gateway::Agent::"reader", action, resource)'
    " unless { context.base has approval };"
)


def for_payer(*policies: str, **priors: Step) -> Decision:
    """Return what is decided when `reader` pays for `payer`; what is kept of it gives the same."""
    bundle = load(*policies)
    given = decision_input(bundle, READER, PAY, PAYMENT, facts(**priors))
    decision = decide(bundle, given)
    assert decide(bundle, from_json(parse(dump(to_json(given))))) == decision
    return decision


def test_what_is_done_for_another_agent_has_to_be_allowed_to_both() -> None:
    assert for_payer(PERMIT_ALL).allowed
    assert for_payer(ITS_OWN.replace("reader", "payer")).ruling is Ruling.DENY
    decision = for_payer(ITS_OWN)
    assert decision.ruling is Ruling.DENY
    assert decision.message.startswith("This is done for agent payer. No policy allows agent payer")


def test_what_was_opened_to_one_of_them_is_not_open_to_the_other() -> None:
    granted = '@id("granted") permit (principal, action, resource) when { context.base has grant };'
    bundle = load(granted)
    open_to = replace(facts(), grant=Approval("stn_1", 1, (Approver("bob"),), 0, standing=True))
    for who, is_let in ((READER, False), (replace(READER, child=None), True)):
        assert decide(bundle, decision_input(bundle, who, PAY, PAYMENT, open_to)).allowed is is_let


def test_nothing_is_shown_that_one_of_them_may_never_use() -> None:
    bundle = load(ITS_OWN)
    for who, seen in ((READER, False), (replace(READER, child=None), True)):
        assert visible(bundle, who, PAY) is seen
        assert (may(bundle, who, "resources/read", "files", None) is not Outlook.NEVER) is seen


def test_what_is_done_for_another_agent_is_held_to_the_terms_of_both() -> None:
    own = ITS_OWN.replace("permit", '@max_calls("5/run") permit')
    theirs = own.replace("reader", "payer").replace("own", "theirs").replace("5", "2")
    bundle = load(own, theirs, options=LoadOptions(fulfils=frozenset({"max_calls"})))
    decision = decide(bundle, decision_input(bundle, READER, PAY, PAYMENT, facts()))
    assert decision.policies == ("own", "theirs")
    assert decision.obligations == (("max_calls", "5/run"), ("max_calls", "2/run"))


def test_what_an_agent_did_for_another_counts_as_done_by_both_and_is_used_up_once() -> None:
    decision = for_payer(PERMIT_ALL, PRECONDITION, fraud=step(agent="reader"))
    assert decision.allowed
    assert [query.name for query in decision.consumes] == ["fraud"]
    assert not for_payer(PERMIT_ALL, PRECONDITION, fraud=step(agent="payer")).allowed


def test_nobody_is_asked_to_approve_what_another_agent_may_not_do_anyway() -> None:
    assert for_payer(PERMIT_ALL, WANTS).ruling is Ruling.NEEDS_APPROVAL
    never = '@id("never") forbid (principal == Gateway::Agent::"payer", action, resource);'
    assert for_payer(PERMIT_ALL, WANTS, never).ruling is Ruling.DENY
    both = WANTS.replace("reader", "payer").replace("wants", "both")
    assert for_payer(PERMIT_ALL, WANTS, both).policies == ("wants",)
