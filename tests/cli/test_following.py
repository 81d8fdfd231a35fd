"""A gateway goes by its files as they change, and says so where it cannot."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.app import Home
from gateway.cli.following import Following
from gateway.cli.loaded import load_now
from gateway.config import GatewayConfig
from gateway.model.errors import StoreFault
from gateway.redaction.redactor import Redactor

CONFIG = "version: 1\nagents: { one: { allow: ['*'] } }\n"
OTHER = "version: 1\nagents: { two: { allow: ['*'] } }\n"


class Told:
    """A gateway that only keeps what it is told; each of `answers` is raised or returned by one reload, in turn."""

    def __init__(self, *answers: str | Exception) -> None:
        self.files_problem = ""
        self.answers = list(answers)
        self.configs: list[GatewayConfig] = []
        self.problems: list[str] = []

    async def reload(self, config: GatewayConfig) -> str:
        self.problems.append(self.files_problem)
        answer = self.answers.pop(0) if self.answers else ""
        if isinstance(answer, Exception):
            raise answer
        self.configs.append(config)
        return answer

    def agents(self) -> list[str]:
        return [next(iter(config.agents)) for config in self.configs]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def following(config: Path) -> Following:
    return Following(load_now(config), Home(config.parent), Redactor([]), first_pause_s=0.01)


@asynccontextmanager
async def told(gateway: Told, follower: Following) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(follower.tell(gateway, stop))
    async with asyncio.timeout(30):
        yield
        stop.set()
        await task


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.01)


async def test_a_change_made_while_the_gateway_was_starting_is_not_missed(config: Path) -> None:
    gateway, follower = Told(), following(config)
    config.write_text(OTHER, encoding="utf-8")
    async with told(gateway, follower):
        await until(lambda: gateway.agents() == ["two"])
    assert gateway.files_problem == ""


async def test_a_change_made_right_after_the_configuration_was_read_is_not_missed(config: Path) -> None:
    loaded, gateway = load_now(config), Told()
    config.write_text(f"{OTHER}# of another length: clocks of files are coarse\n", encoding="utf-8")
    async with told(gateway, Following(loaded, Home(config.parent), Redactor([]))):
        await until(lambda: gateway.agents() == ["two"])


class Meddled(Redactor):
    """Has the file changed once more, between reading it and looking at what it names."""

    def __init__(self, config: Path) -> None:
        super().__init__([])
        self.config = config

    def learn(self, secrets: Iterable[str]) -> None:
        if "policies" in self.config.read_text(encoding="utf-8"):
            self.config.write_text(OTHER, encoding="utf-8")
        super().learn(secrets)


async def test_a_change_made_while_other_files_begin_to_be_followed_is_not_missed(config: Path) -> None:
    gateway = Told()
    follower = Following(load_now(config), Home(config.parent), Meddled(config))
    (config.parent / "rules").mkdir()
    config.write_text(f"{CONFIG}policies: [rules]\n", encoding="utf-8")
    async with told(gateway, follower):
        await until(lambda: gateway.agents() == ["one", "two"])


async def test_a_lock_that_the_gateway_wrote_while_it_started_is_no_change(config: Path) -> None:
    gateway, follower = Told(), following(config)
    config.with_name("gateway.lock").write_text("{}", encoding="utf-8")
    async with told(gateway, follower):
        await asyncio.to_thread(config.write_text, OTHER, encoding="utf-8")
        await until(lambda: gateway.configs != [])
    assert set(gateway.agents()) == {"two"}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (StoreFault("The ledger cannot be written."), "store_unavailable: The ledger cannot be written."),
        (RuntimeError("nobody foresaw this"), "RuntimeError: nobody foresaw this"),
    ],
)
async def test_what_fails_unexpectedly_is_logged_and_told_and_tried_again(
    config: Path, fault: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    gateway, follower = Told(fault, fault, fault), following(config)
    config.write_text(OTHER, encoding="utf-8")
    async with told(gateway, follower):
        await until(lambda: gateway.agents() == ["two"])
        assert gateway.files_problem == ""
        config.write_text(CONFIG, encoding="utf-8")
        await until(lambda: gateway.agents()[-1] == "one")
    assert gateway.problems[1:4] == [f"changes to the files have no effect at the moment ({said})"] * 3
    failed = [record for record in caplog.records if "following the files failed" in record.message]
    assert [record.args for record in failed] == [(0.01,), (0.02,), (0.04,)]
    assert all(record.levelno == logging.ERROR and record.exc_info for record in failed)


async def test_a_stop_ends_the_pause_after_a_failure(config: Path) -> None:
    gateway = Told(*[RuntimeError("again")] * 9)
    follower = Following(load_now(config), Home(config.parent), Redactor([]), first_pause_s=1000)
    config.write_text(OTHER, encoding="utf-8")
    async with told(gateway, follower):
        await until(lambda: gateway.files_problem != "")
    assert len(gateway.answers) == 8


async def test_files_that_are_not_in_force_are_told_until_they_are(config: Path) -> None:
    gateway, follower = Told("x.cedar:1:1: wrong"), following(config)
    config.write_text(OTHER, encoding="utf-8")
    async with told(gateway, follower):
        await until(lambda: "the policies do not load" in gateway.files_problem)
        config.write_text("version: 1\nagentz: {}\n", encoding="utf-8")
        await until(lambda: "is not valid" in gateway.files_problem)
        assert "agentz" in gateway.files_problem
        config.write_text(CONFIG, encoding="utf-8")
        await until(lambda: gateway.files_problem == "")
    assert gateway.agents()[-1] == "one"


async def test_policies_named_later_are_followed_from_then_on(config: Path) -> None:
    gateway, follower = Told(), following(config)
    policies = config.with_name("more")
    policies.mkdir()
    config.write_text(f"{CONFIG}policies: [./more]\n", encoding="utf-8")
    async with told(gateway, follower):
        await until(lambda: any(one.policies for one in gateway.configs))
        known = len(gateway.configs)
        (policies / "new.cedar").write_text("// nothing\n", encoding="utf-8")
        await until(lambda: len(gateway.configs) > known)
