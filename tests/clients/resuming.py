"""`make test-resume`: agents of two frameworks, killed in the middle of a job of 50 steps, with or without the gateway.

By default at some steps; with `--every` at every one in turn, which takes half an hour or so. With `--few` at one, by
LangGraph alone, and where that cannot be installed (it takes the network) it is said that nothing was tested.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.clients.run import HERE, Agent, python_of
from tests.live.resume.agent import STEPS
from tests.live.resume.office import office
from tests.live.running import ROOT, environment

LANGGRAPH = Agent("langgraph", "langgraph==1.2.* langchain-mcp-adapters==0.3.*")
AGENTS = {
    "langgraph": (LANGGRAPH, HERE / "resume_with_langgraph.py"),
    "pydantic-ai": (Agent("pydantic_ai", "pydantic-ai-slim[mcp]==2.68.*"), HERE / "resume_with_pydantic_ai.py"),
}
WHO = ("agent", "gateway", "both")
SOME = (1, 2, 25, 46, 47, 50)
FEW = (47,)


class Nursery:
    """A process that has imported an agent's framework, and bears agents."""

    def __init__(self, command: Sequence[str | Path], log: Path) -> None:
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def ask(self, *what: object) -> int | None:
        """Ask it for something, and return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        answer: int | None = json.loads(self._process.stdout.readline())
        return answer

    def start(self, *arguments: str) -> "Born":
        """Bear an agent."""
        pid = self.ask("start", *arguments)
        assert pid is not None
        return Born(self, pid)

    def close(self) -> None:
        """Let it end."""
        self._process.communicate(timeout=30)


class Born:
    """An agent's process."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery = nursery
        self._pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """Return its exit code, None while it runs."""
        if self._code is None:
            self._code = self._nursery.ask("ended", self._pid)
        return self._code

    def kill(self) -> None:
        """End it as a crash would."""
        os.kill(self._pid, signal.SIGKILL)

    def wait(self, timeout: float) -> int:
        """Wait until it has ended; return its exit code."""
        give_up = time.monotonic() + timeout
        while (code := self.poll()) is None:
            assert time.monotonic() < give_up, f"process {self._pid} does not end"
            time.sleep(0.01)
        return code


@contextmanager
def nursery(agent: Agent, script: Path, log: Path) -> Iterator[Nursery]:
    """Import an agent once."""
    bearing = Nursery([python_of(agent), HERE / "forking.py", script], log)
    try:
        yield bearing
    except AssertionError:
        print(log.read_text(encoding="utf-8"))
        raise
    finally:
        bearing.close()


def main(steps: Sequence[int], names: Sequence[str] = tuple(AGENTS)) -> int:
    """Break every agent off at the steps; 0 when all was done once."""
    for name, (agent, script) in ((name, AGENTS[name]) for name in names):
        with tempfile.TemporaryDirectory(prefix="toolgate-resume-") as folder, office(Path(folder)) as books:
            with nursery(agent, script, books.home / "agent.log") as bearing:
                for who, step in ((who, step) for who in WHO for step in steps):
                    job = f"{name}-{who}-{step}"
                    books.broken_off(bearing.start, job, step, who)
                    books.check(job, step, who)
                    print(f"  ok     {name}: {who} killed in step {step}", flush=True)
            books.check_costs()
            print(f"  ok     {name}: {books.answered} steps saved by resume, {books.saved} usd", flush=True)
    goes_back()
    return 0


def goes_back() -> None:
    """Have LangGraph carry out a node three times."""
    more = "\n    once_per_run: true"
    with tempfile.TemporaryDirectory(prefix="toolgate-back-") as folder, office(Path(folder), more) as books:
        with nursery(LANGGRAPH, HERE / "langgraph_goes_back.py", books.home / "agent.log") as bearing:
            books.done(bearing.start, "back")
        assert books.posted("back") == {1: 1}, books.posted("back")
    print("  ok     langgraph: interrupted, resumed and sent back in time, it posted once")


def few() -> int:
    """Break LangGraph off at one step, if it can be had."""
    try:
        python_of(LANGGRAPH)
    except subprocess.CalledProcessError:
        print("  NOT TESTED: LangGraph could not be installed", flush=True)
        return 0
    return main(FEW, ["langgraph"])


if __name__ == "__main__":
    if "--few" in sys.argv[1:]:
        sys.exit(few())
    sys.exit(main(range(1, STEPS + 1) if "--every" in sys.argv[1:] else SOME))
