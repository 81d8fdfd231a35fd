"""Services of other people, run for a test."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.live.running import environment

__all__ = ["free_port", "served"]


@contextmanager
def served(command: list[str], folder: Path, ready: str) -> Iterator[None]:
    """Run a service until the block ends; it is up when `ready` answers."""
    with (folder / "service.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment())
    give_up = time.monotonic() + 60
    try:
        while not _answers(ready):
            if process.poll() is not None or time.monotonic() > give_up:
                raise AssertionError((folder / "service.log").read_text(errors="replace")[-3000:])
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url).status_code < 500
    except httpx2.TransportError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
