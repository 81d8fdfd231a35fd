"""A claim and a decision take the same work in a large gateway as in a small one: counted, not timed."""

from pathlib import Path

from tests.overhead.growth import decision_work, steps_of_a_claim

FEW, MANY = 100, 20_000


async def test_a_claim_beside_a_large_ledger_takes_the_steps_it_takes_beside_a_small_one(tmp_path: Path) -> None:
    small, large = await steps_of_a_claim(tmp_path, FEW), await steps_of_a_claim(tmp_path, MANY)
    assert 0 < large <= small * 1.1


def test_a_decision_among_many_grants_and_tools_takes_the_calls_it_takes_among_few() -> None:
    small, large = decision_work(5, 5), decision_work(500, 200)
    assert 0 < large.first <= small.first * 1.1
    assert 0 < large.next <= small.next * 1.1
    assert large.policies == small.policies
