"""What a bundle remembers changes no decision, and is bounded."""

from gateway.model.identity import Identity
from tests.policy.acme import PAY, PAYMENT, PERMIT_ALL, PRECONDITION, ask, facts, load, step


def test_a_bundle_that_has_seen_thousands_of_agents_decides_like_a_fresh_one() -> None:
    seen, fresh = load(PERMIT_ALL, PRECONDITION), load(PERMIT_ALL, PRECONDITION)
    for number in range(2100):
        seen.situation(seen.request(Identity("payer", "jwt", "jwt:1", teams=(f"team-{number}",)), PAY))
    for known in (facts(), facts(fraud=step())):
        assert ask(seen, PAY, PAYMENT, known) == ask(fresh, PAY, PAYMENT, known)
    assert ask(seen, PAY, PAYMENT, facts(fraud=step())).allowed
