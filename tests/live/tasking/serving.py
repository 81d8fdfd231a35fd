"""Servers with tasks, in their own processes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.live.running import ROOT, environment
from tests.live.ways.backs import Back

__all__ = ["task_servers"]


@contextmanager
def task_servers(folder: Path, *eras: str) -> Iterator[dict[str, Back]]:
    """Run one server of each era; each is called `jobs-ERA`."""
    running, found = [], {}
    try:
        for era in eras or ("legacy", "modern"):
            here = folder / f"jobs-{era}"
            here.mkdir()
            command = [sys.executable, "-m", "tests.live.tasking.server", str(here), era]
            process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)
            running.append(process)
            assert process.stdout is not None
            section = {"type": "http", "url": process.stdout.readline().strip()}
            found[here.name] = Back(here.name, here, section)
        yield found
    finally:
        for process in running:
            process.terminate()
            process.communicate()
