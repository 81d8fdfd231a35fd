"""Memory that is free inside the process: glibc keeps it, and is told here to give it back.

Large bodies come and go, and small things that stay come to lie between them. Measured: 16 answers of 5 MB at once took
80 to 160 MiB until the gateway ended, and hundreds of large arguments as much again.
"""

import asyncio
import ctypes
from typing import Any, Final

__all__ = ["give_back", "keep_large_blocks_apart"]

_M_TRIM_THRESHOLD: Final = -1  # malloc.h
_M_MMAP_THRESHOLD: Final = -3
_LARGE: Final = 256 * 1024
_EVERY_S: Final = 60.0


def keep_large_blocks_apart() -> None:
    """Have each large block be a mapping of its own, which ends with it: left to itself glibc learns to keep them."""
    mallopt = _function("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, 2 * _LARGE)


async def give_back(every_s: float = _EVERY_S) -> None:
    """Give back what is free between other things, once in a while: it takes some milliseconds."""
    trim = _function("malloc_trim")
    while trim is not None:
        await asyncio.sleep(every_s)
        trim(0)


def _function(name: str) -> Any:
    """Return a function of the C library, or None: no other than glibc has these, nor needs them."""
    return getattr(ctypes.CDLL(None), name, None)
