"""Two hundred calls at once, one in ten of which meets a fault: nothing doubled, everything answered and recorded."""

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from tests.faults.house import HTTP, House
from tests.faults.test_matrix import KINDS, OVER_HTTP, OVER_PIPES, OVER_SSE
from tests.live.raw import Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLS = 200
SEED = 20261117
TRUTHFUL = {"unavailable", "timeout", "contract_broken"}
"""What may come of an effect that the server had: what it refuses or puts off it has not done."""


async def one(home: House, dice: random.Random) -> tuple[str, str, str, Answer]:
    """Make one call as the dice say."""
    server, kind = dice.choice([*HTTP, "pipes"]), dice.choice(KINDS)
    known = {"pipes": OVER_PIPES, "sse": OVER_SSE}.get(server, OVER_HTTP)
    fault = dice.choice(sorted(known)) if dice.random() < 0.1 else "ok"
    means = known.get(fault, "ok")
    more: dict[str, Any] = {"bytes": 200_000} if fault.startswith("oversize") else {}
    if means in TRUTHFUL and dice.random() < 0.5:
        more["when"] = "before"
    tool = f"brief_{kind}" if means == "timeout" else kind
    ref, answer = await home.act(server, tool, [fault, "ok"], **more)
    return server, kind if fault not in known or known[fault] != "ok" else "read", ref, answer


async def test_two_hundred_calls_at_once_with_faults_among_them_keep_every_promise(home: House) -> None:
    dice = random.Random(SEED)
    made = await asyncio.gather(*(one(home, random.Random(dice.random())) for _ in range(CALLS)))
    ends: Counter[str] = Counter()
    for server, kind, ref, answer in made:
        code, effects = str(answer.code), home.book(server).effects(ref)
        ends[code] += 1
        if kind == "read":
            assert effects == 0
        elif code == "ok":
            assert effects == 1, (server, kind, ref)
        else:
            assert effects <= (code == "outcome_unknown"), (server, kind, ref, code)
        attempts = home.attempts(ref)  # the ledger has this call once, with every attempt at it
        assert [each["n"] for each in attempts] == list(range(1, len(attempts) + 1))
        assert (attempts[-1]["code"] == "ok") is (code == "ok")
    assert ends["ok"] > CALLS * 0.8
    assert len(ends) > 2
    assert await home.inside.gateway.store.verify() > CALLS
    assert await home.inside.gateway.store.unfinished() == []
