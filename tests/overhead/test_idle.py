"""Clients that only listen cost little memory, and the calls of the others nothing: in one process, without sockets."""

import asyncio
import subprocess
import sys
import time

import pytest

from tests.overhead.idle import idle_sessions
from tests.overhead.stand import ROOT, environment
from tests.pipeline.gate import Gate
from tests.transport.asking import LIST
from tests.transport.front import Front
from tests.transport.peer import Peer

CALLS = 100
ROUNDS = 5
MOST_BYTES = 20 * 1024
MOST_SLOWER = 1.6


async def cost_of_calls(peer: Peer) -> float:
    """Return the CPU seconds of some calls, the least of some rounds."""
    costs = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(CALLS):
            await peer.legacy("tools/call", LIST).ended()
        costs.append(time.process_time() - started)
    return min(costs)


@pytest.fixture
async def front() -> Front:
    return Front(Gate())


async def test_idle_sessions_with_open_streams_do_not_slow_a_call(front: Front) -> None:
    peer = Peer(front)
    await peer.initialize()
    await cost_of_calls(peer)
    alone = await cost_of_calls(peer)
    running = asyncio.ensure_future(front.gate.notices.run())
    replies = await idle_sessions(front)
    beside = await cost_of_calls(peer)
    running.cancel()
    front.gate.notices.stop()
    for reply in replies:
        await reply.ended()
    await asyncio.gather(running, return_exceptions=True)
    assert beside < alone * MOST_SLOWER


def test_an_idle_session_with_an_open_stream_takes_at_most_20_kib() -> None:
    """In a process of its own: what a coverage tracer remembers of each frame would be counted too."""
    command = [sys.executable, "-m", "tests.overhead.idle"]
    told = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    assert float(told.stdout) < MOST_BYTES
