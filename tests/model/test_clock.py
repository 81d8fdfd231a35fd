"""The machine's clock, and ids nobody can guess."""

import re
import time

from gateway.model.clock import RandomIds, SystemClock
from gateway.model.identity import Credential
from gateway.model.tool import anything


async def test_the_clock_is_the_machines() -> None:
    clock = SystemClock()
    before = time.time_ns() // 1_000_000
    assert before <= clock.now_ms() <= time.time_ns() // 1_000_000
    first = clock.monotonic()
    await clock.sleep(0)
    assert clock.monotonic() >= first


def test_ids_are_unlike_each_other_and_hold_128_bits() -> None:
    ids = RandomIds()
    made = {ids.new("call") for _ in range(1000)}
    assert len({one[-32:] for one in made}) == 1000
    assert all(re.fullmatch(r"call_[0-9a-f]{41}", one) for one in made)
    fractions = [ids.fraction() for _ in range(1000)]
    assert all(0 <= fraction < 1 for fraction in fractions)
    assert len(set(fractions)) > 990


def test_what_is_named_later_sorts_later_whoever_names_it() -> None:
    before = time.time_ns()
    names = [RandomIds().new("call") for _ in range(3)]
    moments = [f"call_{at >> 26:09x}" for at in (before, time.time_ns())]
    assert all(moments[0] <= name[:14] <= moments[1] for name in names)


def test_a_credential_does_not_show_itself() -> None:
    assert "tg_secret" not in repr(Credential("bearer", "tg_secret"))


def test_a_tool_without_a_schema_takes_anything() -> None:
    assert anything(object()) == ""
