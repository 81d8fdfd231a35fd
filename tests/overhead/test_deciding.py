"""The bench reports what identity and policy take of a call; the time itself is printed, never judged."""

import pytest

from tests.overhead.deciding import print_deciding, waits_of


async def test_every_call_is_timed_and_identity_is_a_part_of_it() -> None:
    waits = await waits_of("payments_pay", 20)
    assert len(waits.identity) == len(waits.both) == 20
    assert all(0 < identity < both for identity, both in zip(waits.identity, waits.both, strict=True))


def test_the_99th_percentile_is_reported_for_a_read_and_an_effect(capsys: pytest.CaptureFixture[str]) -> None:
    print_deciding(20)
    heading, _, *rows = capsys.readouterr().out.strip().splitlines()
    assert heading.count("p99") == 2
    assert [row.split(" | ")[0] for row in rows] == ["| a read", "| an effect that needs a check"]
    assert all(len(row.split(" | ")) == 5 for row in rows)
