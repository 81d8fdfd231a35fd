"""A server that the operator quarantined: nothing of it is used, whatever else permits it."""

from gateway.policy import compile_quarantine
from tests.policy.acme import LIST, PAY, PAYMENT, PERMIT_ALL, ask, load


def test_a_quarantined_server_is_forbidden_and_no_other_is() -> None:
    [source] = compile_quarantine(["payments"])
    bundle = load(PERMIT_ALL, source.text)
    for tool, arguments in ((PAY, PAYMENT), (LIST, {})):
        refused = ask(bundle, tool, arguments)
        assert (refused.allowed, refused.policies) == (False, ("quarantined.payments",))
        assert "ask the operator" in refused.message
    assert ask(load(PERMIT_ALL, *[one.text for one in compile_quarantine(["fraud"])]), PAY, PAYMENT).allowed


def test_where_none_is_nothing_is_compiled() -> None:
    assert compile_quarantine([]) == ()
