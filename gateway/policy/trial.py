"""Policy texts from people, tried in a process of their own before this one reads them (POLICY.md §5).

The limits of `source` keep out every text known to crash the engine. A text nobody knows of yet takes down the child.
"""

import gc
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from gateway.codec import digest
from gateway.model.problem import Problem
from gateway.model.tool import Effect, Tool
from gateway.policy.cedar import CedarError, parse
from gateway.policy.policies import LoadOptions, check_sources
from gateway.policy.problem import PolicyLoadError
from gateway.policy.source import PolicySource
from gateway.policy.temporal import read
from gateway.store.private_file import PrivateFileError, read_private, write_private

__all__ = ["Trial"]

_DEADLINE_S: Final = 20.0
_MODULE: Final = "gateway.policy.trial"
_PASSED_ON: Final = ("PATH", "LANG", "LD_LIBRARY_PATH", "PYTHON", "COVERAGE")


class Trial:
    """Has texts read where they can do no harm; those that were read without any are known by their digest at `path`.

    So what was good before is not tried again, not even by the next process.
    """

    def __init__(self, path: Path, *, deadline_s: float = _DEADLINE_S, command: Sequence[str] = ()) -> None:
        self._path = path
        self._deadline_s = deadline_s
        self._command = [*(command or (sys.executable, "-m", _MODULE)), str(deadline_s)]
        self._good = ""

    def hold(self, written: Sequence[PolicySource], tools: Sequence[Tool], options: LoadOptions) -> None:
        """Let texts pass that a process survives reading, whatever else may be wrong with them. Blocks until then.

        Raises:
            PolicyLoadError: it does not, or not within the deadline; or there is no process to be had.
        """
        mark = _mark(written)
        if not written or self._is_good(mark):
            return
        problem = self._tried(_question(written, tools, options))
        if problem is not None:
            raise PolicyLoadError([problem])
        self._good = mark
        try:
            write_private(self._path, mark.encode())
        except (PrivateFileError, OSError):
            return  # it is tried again by the next process, that is all

    def _is_good(self, mark: str) -> bool:
        if not self._good:
            try:
                self._good = (read_private(self._path) or b"").decode("ascii", "replace")
            except PrivateFileError:
                return False
        return mark == self._good

    def _tried(self, question: bytes) -> Problem | None:
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter and module
                self._command,
                input=question,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=self._deadline_s,
                env={name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)},
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            return _problem(late.stdout, f"it takes longer than {self._deadline_s:g} s to read")
        except OSError as error:
            return _problem(None, f"no process can be started to try the policies in: {error.strerror}")
        if done.returncode in {-signal.SIGXCPU, -signal.SIGALRM}:
            return _problem(done.stdout, f"it takes longer than {self._deadline_s:g} s to read")
        if done.returncode != 0:
            return _problem(done.stdout, f"reading it ends the process that does ({_how(done.returncode)})")
        return None


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _mark(written: Sequence[PolicySource]) -> str:
    return digest({"texts": [one.text for one in written], "engine": version("cedarpy")})


def _question(written: Sequence[PolicySource], tools: Sequence[Tool], options: LoadOptions) -> bytes:
    asked = {
        "sources": [[one.name, one.text] for one in written],
        "tools": [[tool.name, tool.input_schema, tool.output_schema] for tool in tools],
        "fulfils": sorted(options.fulfils),
        "environments": options.environments,
        "facts": options.facts,
    }
    return json.dumps(asked).encode()


def _problem(said: bytes | None, why: str) -> Problem:
    """Return what is wrong, at the last place that the child said it had come to."""
    places = (said or b"").decode("utf-8", "replace").splitlines()
    last = places[-1] if places else "policies"
    file, _, line = last.rpartition(":")
    fix = "simplify that policy; whatever was in force stays in force."
    if not line.isdecimal():
        return Problem(last, 0, 0, "harmful", why, fix)
    return Problem(file, int(line), 1, "harmful", why, fix)


def _main() -> None:
    """Read the texts on standard input; say where that is before each policy, so that the last place is known."""
    seconds = float(sys.argv[1])
    signal.setitimer(signal.ITIMER_REAL, seconds)  # should the parent be gone
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 2))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    asked = json.load(sys.stdin)
    sources = [PolicySource(name, text) for name, text in asked["sources"]]
    for source in sources:
        for statement in read(source)[0]:
            _say(f"{statement.file}:{statement.line}")
            try:
                parse(statement.text)
            except CedarError:
                continue  # a mistake is told by whoever reads it next
    _say("policies, checked against the pinned tools")
    options = LoadOptions(frozenset(asked["fulfils"]), tuple(asked["environments"]), facts=asked["facts"])
    try:
        check_sources(sources, [_tool(*each) for each in asked["tools"]], options)
    except PolicyLoadError:
        return


def _say(place: str) -> None:
    sys.stdout.write(f"{place}\n")
    sys.stdout.flush()


def _tool(name: str, input_schema: Any, output_schema: Any) -> Tool:
    """Return as much of a tool as policies are checked against."""
    return Tool(name, name, "", name, 1, "", Effect.READ, {}, input_schema, output_schema)


if __name__ == "__main__":
    _main()
    gc.freeze()  # the process goes: nothing of it need be taken apart, which was a sixth of its work
