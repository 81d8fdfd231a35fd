"""A gateway, the books behind it, and an agent that is killed in the middle of its job, with or without the gateway."""

import json
import sqlite3
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from tests.live.resume.agent import STEPS
from tests.live.running import PATH, ROOT, Running, environment

__all__ = ["Office", "Started", "office", "plain"]

CONFIG = """version: 1
server: {{ listen: "127.0.0.1:0", store: "sqlite:///data/gateway.db" }}
mcpServers:
  books:
    command: "{python}"
    args: ["-m", "tests.live.resume.books"]
    env: {{ BOOKS: "{folder}", PYTHONPATH: "{path}" }}
tools:
  books.entry: {{ effect: read, cost: {{ usd: 0.01 }} }}
  books.find: {{ effect: read }}
  books.post:
    effect: irreversible
    accept_irreversible: true
    cost: {{ usd: amount }}
    lookup: {{ tool: books.find, result: {{ drop: [found] }} }}{more}
agents:
  clerk: {{ owner: o@acme.example, auth: {{ token: true }}, allow: ["books.*"] }}
"""


class Started(Protocol):
    """An agent's process."""

    def poll(self) -> int | None:
        """Return its exit code, None while it runs."""
        ...

    def kill(self) -> None:
        """End it as a crash would."""
        ...

    def wait(self, timeout: float) -> int:
        """Wait until it has ended; return its exit code."""
        ...


Start = Callable[[str, str, str, str], Started]
"""Starts an agent, told the URL, its token, its job and an id of the attempt."""


def plain(*told: str) -> Started:
    """Start the agent that is no framework's."""
    command = [sys.executable, "-m", "tests.live.resume.agent", *told]
    return subprocess.Popen(command, cwd=ROOT, env=environment())


@dataclass
class Office:
    """`home` is the folder of everything: what is said of it in words, and what was really done.

    `answered` counts the steps that were answered from the record, over all jobs, and `saved` what they cost.
    """

    home: Path
    running: Running
    token: str
    jobs: int = 0
    answered: int = 0
    saved: Decimal = Decimal(0)

    def start(self, agent: Start, job: str) -> Started:
        """Start an agent anew."""
        return agent(f"{self.running.url}/mcp", self.token, job, uuid.uuid4().hex)

    def broken_off(self, agent: Start, job: str, step: int, who: str) -> None:
        """Kill the agent, the gateway or both in the middle of a step; start them again until the job is done."""
        self.killed(agent, job, step, who)
        self.done(agent, job)

    def killed(self, agent: Start, job: str, step: int, who: str) -> None:
        """Kill the agent, the gateway or both in the middle of a step; have the gateway there again."""
        hold, held = self.home / "hold", self.home / "held"
        held.unlink(missing_ok=True)
        hold.write_text(f"{job} {step}", encoding="utf-8")
        first = self.start(agent, job)
        _until(held.exists, first)
        if who != "gateway":
            first.kill()
        if who != "agent":
            self.running.kill()
        hold.unlink()
        first.wait(60)  # one whose gateway is gone ends by itself
        if who != "agent":
            self.running.start()

    def done(self, agent: Start, job: str) -> None:
        """Have an agent do the job to its end."""
        assert self.start(agent, job).wait(120) == 0, job

    def moved_to(self, other: "Office", job: str) -> None:
        """Have a job go on under another gateway, which is running."""
        toolgate = self.running.command
        give_up = time.monotonic() + 60
        while (run := self._run(job))["in_doubt"]:  # it is being looked up
            assert time.monotonic() < give_up, run
        run_id = str(run["run"])
        toolgate("runs", "pause", run_id)
        toolgate("runs", "export", run_id, "-o", "run.jsonl")
        (self.home / "jwks.json").write_text(toolgate("evidence", "key").stdout, encoding="utf-8")
        file, key = str(self.home / "run.jsonl"), str(self.home / "jwks.json")
        other.running.command("runs", "import", file, "--key", key)

    def _run(self, job: str) -> dict[str, Any]:
        listed: list[dict[str, Any]] = json.loads(self.running.command("runs", "list", "--json").stdout)
        return next(each for each in listed if job in each["key"])

    def posted(self, job: str) -> Counter[int]:
        """Count the postings of a job, by step, in the server's own file."""
        lines = [line.split() for line in (self.home / "posted").read_text(encoding="utf-8").splitlines()]
        return Counter(int(n) for name, n in lines if name == job)

    def replayed(self, job: str) -> list[int]:
        """Return the steps of a job that were answered from the record."""
        with closing(sqlite3.connect(self.home / "data" / "gateway.db")) as db:
            bodies = db.execute("SELECT body FROM events WHERE kind = 'call.recorded'").fetchall()
        found = [json.loads(body) for (body,) in bodies]
        told = [each["arguments"] for each in found if "replayed_from" in each]
        return sorted(each["n"] for each in told if each["job"] == job)

    def check(self, job: str, step: int, who: str) -> None:
        """See that every step was made once, and all before the break answered from the record.

        So is an effect that was broken off; a read is made again, unless its gateway lived to see its end.
        """
        assert self.posted(job) == Counter({n: 1 for n in range(2, STEPS + 1, 2)}), job
        told = {step - 1, step} if who == "agent" and step % 2 else {step - step % 2}
        replayed = self.replayed(job)
        assert len(replayed) in told, (job, replayed)
        assert replayed == list(range(1, len(replayed) + 1)), (job, replayed)
        self.jobs += 1
        self.answered += len(replayed)
        self.saved += sum(map(price, replayed), Decimal(0))

    def check_costs(self) -> None:
        """See that `toolgate budget` says what all jobs cost, each once, and what resuming them saved."""
        told: dict[str, Any] = json.loads(self.running.command("budget", "--json").stdout)
        assert told["saved_by_resume"] == {"calls": str(self.answered), "usd": f"{self.saved.normalize():f}"}
        spent = {each["tool"]: Decimal(each["cost"]) for each in told["costs"]}
        assert spent["books.post"] == self.jobs * sum(map(price, range(2, STEPS + 1, 2)), Decimal(0)), spent


def price(step: int) -> Decimal:
    """Return what a step costs: a reading is 0.01, a posting what is posted, which was read in the step before."""
    return Decimal("0.01") if step % 2 else Decimal(100 + step - 1)


def _until(true: Callable[[], bool], process: Started) -> None:
    give_up = time.monotonic() + 60
    while not true():
        assert process.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.01)


@contextmanager
def office(home: Path, more: str = "") -> Iterator[Office]:
    """Run a gateway in front of the books."""
    text = CONFIG.format(python=sys.executable, folder=home, path=PATH, more=more)
    (home / "gateway.yaml").write_text(text, encoding="utf-8")
    running = Running(home).start()
    try:
        yield Office(home, running, running.token("clerk"))
    finally:
        if running.process is not None and running.process.poll() is None:
            running.stop()
