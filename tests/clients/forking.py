"""Imports an agent's script once, and carries it out in a new process as often as it is asked to.

python forking.py SCRIPT: a line `["start", "argument", …]` on stdin is answered with the process's id, `["ended", ID]`
with its exit code, or null while it runs. A framework takes seconds to be imported; a fork takes none.
"""

import asyncio
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any


def main(script: str) -> None:
    agent = importlib.import_module(Path(script).stem).main  # it lies beside this file
    for line in sys.stdin:
        what, *about = json.loads(line)
        print(json.dumps(started(agent, about) if what == "start" else ended(*about)), flush=True)


def started(agent: Callable[..., Coroutine[Any, Any, None]], arguments: list[str]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        os.dup2(2, 1)  # what it prints is no answer of ours
        asyncio.run(agent(*arguments))
        os._exit(0)
    finally:
        traceback.print_exc()
        os._exit(1)


def ended(pid: int) -> Any:
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


if __name__ == "__main__":
    main(sys.argv[1])
