"""What the C library keeps of memory that is free, in a process of its own."""

import platform
import subprocess
import sys

import pytest

from tests.overhead.stand import ROOT, environment

HOLES = """
import asyncio
import sys
from gateway.cli.memory import give_back, keep_large_blocks_apart

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))

async def given_back():
    try:
        await asyncio.wait_for(give_back(0.001), 0.5)
    except TimeoutError:
        pass

if "apart" in sys.argv:
    keep_large_blocks_apart()
bytearray(8_000_000)  # from now on glibc takes all that is smaller from its heap, if it is left to itself
before = resident()
large, small = [], []
for _ in range(200):
    large.append(bytearray(300_000))
    small.append(bytearray(2000))
del large
if "back" in sys.argv:
    asyncio.run(given_back())
print(resident() - before)
"""
ALL_KIB = 200 * 300


def kept_kib(*said: str) -> int:
    """Return how much stays of 60 MB that were free again, with small things between them."""
    command = [sys.executable, "-c", HOLES, *said]
    told = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    return int(told.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps it")
@pytest.mark.parametrize("said", ["apart", "back"])
def test_large_blocks_that_are_free_again_are_given_back(said: str) -> None:
    assert kept_kib(said) < ALL_KIB / 10
    assert kept_kib() > ALL_KIB / 2
