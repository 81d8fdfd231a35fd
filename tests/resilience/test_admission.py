"""Who is let in at all."""

import pytest

from gateway.model.errors import LimitFault
from gateway.model.identity import Identity
from gateway.resilience import Admission, RateLimit
from tests.fixtures.clock import FakeClock


def agent(name: str = "payer") -> Identity:
    return Identity(agent=name, credential_id="c", method="token")


def refused(admission: Admission, identity: Identity) -> LimitFault:
    with pytest.raises(LimitFault) as caught:
        admission.check(identity)
    return caught.value


def test_by_default_everybody_is_let_in_at_any_rate() -> None:
    admission = Admission(FakeClock())
    for _ in range(10_000):
        admission.check(agent())


def test_nobody_is_let_in_once_the_gateway_stops() -> None:
    admission = Admission(FakeClock())
    admission.stop()
    fault = refused(admission, agent())
    assert (fault.code, fault.retry_after_s) == ("shutting_down", 5.0)


def test_whoever_an_operator_has_stopped_is_refused_before_it_is_counted() -> None:
    def stopped(identity: Identity) -> None:
        if identity.agent == "payer":
            raise LimitFault("paused", code="paused")

    admission = Admission(FakeClock(), RateLimit(calls=1, per_s=10.0), stopped)
    assert refused(admission, agent()).code == "paused"
    assert refused(admission, agent()).code == "paused"
    admission.check(agent("reader"))


async def test_an_agent_above_its_rate_waits_and_others_do_not() -> None:
    clock = FakeClock()
    admission = Admission(clock, RateLimit(calls=2, per_s=10.0))
    admission.check(agent())
    admission.check(agent())
    fault = refused(admission, agent())
    assert (fault.code, fault.retry_after_s) == ("rate_limited", 5.0)
    admission.check(agent("reader"))
    await clock.sleep(5.0)
    admission.check(agent())
    refused(admission, agent())
    await clock.sleep(1000.0)
    admission.check(agent())
    admission.check(agent())
    refused(admission, agent())
