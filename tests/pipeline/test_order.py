"""The stages in their one order, or no gateway."""

import random

import pytest

from gateway.pipeline.order import AFTER_CLAIM, DECIDING, ORDER, WrongOrder, in_order
from gateway.pipeline.stages.claim import Claim
from gateway.pipeline.stages.execute import Execute
from gateway.pipeline.stages.gather import Gather
from tests.pipeline.gate import Gate

GATE = Gate()


def test_the_ten_stages_in_their_order_are_taken_as_they_are() -> None:
    assert in_order(list(GATE.stages)) == GATE.stages


@pytest.mark.parametrize("missing", range(len(ORDER)))
def test_a_pipeline_without_one_of_its_stages_refuses_to_start(missing: int) -> None:
    with pytest.raises(WrongOrder, match=ORDER[missing].__name__):
        GATE.walking([*GATE.stages[:missing], *GATE.stages[missing + 1 :]])


@pytest.mark.parametrize("first", range(len(ORDER) - 1))
def test_a_pipeline_with_two_stages_swapped_refuses_to_start(first: int) -> None:
    stages = list(GATE.stages)
    stages[first], stages[first + 1] = stages[first + 1], stages[first]
    with pytest.raises(WrongOrder):
        GATE.walking(stages)


def test_a_stage_twice_or_a_look_alike_of_one_refuses_to_start() -> None:
    class QuietClaim(Claim):
        """Not the claim."""

    look_alike = [
        QuietClaim(GATE.recorder, GATE.under_way(), GATE.owned, GATE.redactor, GATE.approving.parking)
        if isinstance(s, Claim)
        else s
        for s in GATE.stages
    ]
    for stages in (look_alike, [*GATE.stages, GATE.stages[-1]], random.Random(7).sample(GATE.stages, 10)):
        with pytest.raises(WrongOrder):
            GATE.walking(stages)


def test_deciding_again_starts_at_the_facts_and_owned_work_after_the_claim() -> None:
    assert ORDER[DECIDING] is Gather
    assert (ORDER[AFTER_CLAIM - 1], ORDER[AFTER_CLAIM]) == (Claim, Execute)
