"""It is told when a server fails too much for what is expected of it, once, and when it no longer does."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from gateway.connector.about import About
from gateway.model.errors import StoreFault
from gateway.resilience.config import Objective, Objectives
from gateway.resilience.slo import Ended, Expected, ServiceLevels
from gateway.store.ports import EventFilter
from tests.resilience.test_probing import FullStore, Steps

GOOD: list[Mapping[str, Any]] = [{"code": "ok"}]
HOUR, DAY = 3600, 86_400
FULL = StoreFault("full")


@dataclass
class Home:
    """One server, `crm`, of which 99 % are expected, and whoever counts what it fails."""

    clock: Steps = field(default_factory=Steps)
    objectives: dict[str, Objective] = field(default_factory=lambda: {"crm": Objective(success=0.99)})
    past: list[Ended] = field(default_factory=list)
    asked: list[tuple[int, int]] = field(default_factory=list)
    unreadable: bool = False

    def __post_init__(self) -> None:
        self.store = FullStore(self.clock)
        self.watching: asyncio.Task[None] | None = None

    async def start(self) -> "Home":
        await self.stop()
        expected = Expected(lambda: ["crm", "mail"], self.objectives.get, self._past, lambda server: About(owner="ops"))
        self.levels = ServiceLevels(expected, self.store, self.clock)
        self.watching = asyncio.create_task(self.levels.watch())
        await self.clock.pass_(0)
        return self

    async def stop(self) -> None:
        if self.watching is not None:
            self.watching.cancel()
            await asyncio.gather(self.watching, return_exceptions=True)

    async def _past(self, since_ms: int, until_ms: int) -> AsyncIterator[Ended]:
        if self.unreadable:
            raise FULL
        self.asked.append((since_ms, until_ms))
        for ended in self.past:
            yield ended

    async def calls(self, good: int, failed: int, over_s: int) -> None:
        """Have so many calls end, evenly over a time."""
        for number in range(good + failed):
            code = "unavailable" if number * failed % (good + failed) < failed else ""
            self.levels.count("crm.find", code, GOOD)
            await self.clock.pass_(over_s / (good + failed))

    async def told(self) -> list[dict[str, Any]]:
        return [json.loads(event.body) async for event in self.store.events(EventFilter())]

    async def words(self) -> list[str]:
        return [" ".join(filter(None, (each["what"], each.get("severity")))) for each in await self.told()]

    def burning(self) -> str:
        standing = self.levels.standing("crm")
        assert standing is not None
        return str(standing["burning"])


@pytest.fixture
async def home() -> AsyncIterator[Home]:
    made = await Home().start()
    yield made
    await made.stop()


async def test_a_server_that_fails_a_fifth_of_its_calls_is_told_of_once_and_when_it_is_well_again(home: Home) -> None:
    await home.calls(80, 20, 120)
    [told] = await home.told()
    assert (told["what"], told["server"], told["severity"]) == ("slo burning", "crm", "page")
    assert (told["success"], told["window"], told["about"]) == (0.99, "1h", {"owner": "ops"})
    assert told["burn"] >= 14.4
    assert home.burning() == "page"
    await home.clock.pass_(10 * 60)
    assert (await home.words(), home.burning()) == (["slo burning page"], "ticket")
    await home.clock.pass_(HOUR)
    assert (await home.words(), home.burning()) == (["slo burning page", "slo kept again"], "")


async def test_a_server_that_fails_a_little_for_long_is_a_ticket(home: Home) -> None:
    await home.calls(970, 30, 40 * 60)
    assert await home.words() == []
    for _ in range(7):
        await home.calls(92, 8, HOUR)
    assert await home.words() == ["slo burning ticket"]


async def test_a_server_that_keeps_to_what_is_expected_is_not_told_of(home: Home) -> None:
    for _ in range(6):
        await home.calls(199, 1, HOUR // 2)
    assert await home.told() == []


async def test_few_failures_of_a_server_that_is_hardly_called_are_no_news(home: Home) -> None:
    await home.calls(0, 4, 60)
    assert await home.told() == []
    await home.calls(0, 1, 60)
    assert await home.words() == ["slo burning page"]


async def test_a_low_objective_cannot_be_too_low_to_be_missed() -> None:
    home = Home(objectives={"crm": Objective(success=0.5)})
    await home.start()
    await home.calls(0, 20, 60)
    assert await home.words() == ["slo burning page"]
    await home.stop()


async def test_a_shorter_window_has_less_to_use_up() -> None:
    home = Home(objectives={"crm": Objective(success=0.99, window="7d")})
    await home.start()
    await home.calls(95, 5, 60)  # 5 times too many: nothing for 30 days, which wants 14.4 in an hour
    assert await home.words() == ["slo burning page"]
    await home.stop()


async def test_an_alarm_outlives_the_process_and_is_not_told_again(home: Home) -> None:
    await home.calls(0, 20, 60)
    now = home.clock.now_ms()
    home.past = [(now - 60_000, "crm.find", "unavailable", GOOD)] * 20
    await home.start()
    assert (home.burning(), await home.words()) == ("page", ["slo burning page"])
    assert home.asked[-1] == (now - 6 * HOUR * 1000, now)
    await home.clock.pass_(2 * HOUR)
    assert await home.words() == ["slo burning page", "slo kept again"]


async def test_what_failed_before_the_start_counts() -> None:
    home = Home()
    now = home.clock.now_ms()
    home.past = [(now - 60_000, "crm.find", "timeout", GOOD)] * 3 + [(now - 60_000, "mail.send", "timeout", GOOD)] * 9
    await home.start()
    assert await home.told() == []
    await home.calls(0, 2, 10)
    assert await home.words() == ["slo burning page"]
    await home.stop()


async def test_a_record_that_cannot_be_read_or_written_ends_nothing() -> None:
    home = Home(unreadable=True)
    await home.start()
    home.store.refuses = 2
    await home.calls(0, 20, 4)
    assert (await home.told(), home.burning()) == ([], "")
    await home.clock.pass_(20)
    assert (await home.words(), home.burning()) == (["slo burning page"], "page")
    await home.stop()


async def test_what_is_expected_may_change_while_it_runs(home: Home) -> None:
    objective = home.objectives.pop("crm")
    await home.calls(0, 20, 60)
    assert (await home.told(), home.levels.standing("crm")) == ([], None)
    home.objectives["crm"] = objective
    await home.calls(0, 20, 60)
    assert await home.words() == ["slo burning page"]


async def test_minutes_that_no_longer_count_are_forgotten(home: Home) -> None:
    await home.calls(10, 0, 60)
    await home.clock.pass_(7 * HOUR)
    standing = home.levels.standing("crm")
    assert standing is not None
    assert standing["6h"] == {"calls": 0, "failed": 0, "burn": 0.0}
    assert not home.levels._minutes["crm"]


@pytest.mark.parametrize(
    "wrong", [{"success": 1}, {"success": 0.3}, {}, {"success": 0.9, "window": "1h"}, {"success": 0.9, "window": "91d"}]
)
def test_an_objective_leaves_something_that_may_fail_in_a_window_of_days(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Objectives).validate_python({"crm": wrong})
