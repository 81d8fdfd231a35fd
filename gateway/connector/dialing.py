"""Addresses of names, and plain connected sockets, for what does not speak HTTP or not yet."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence

__all__ = ["Resolve", "dialled", "system_addresses"]

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a name for a port. Raises `OSError` where it has none."""


async def system_addresses(host: str, port: int) -> Sequence[str]:
    """Resolve as this machine does. Raises `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def dialled(addresses: Iterable[str], port: int, timeout_s: float) -> socket.socket:
    """Return a connection to the first of `addresses` that answers, each in its time. Raises `OSError`."""
    failed: OSError = OSError("the name has no address")
    for address in addresses:
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        made.setblocking(False)
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.get_running_loop().sock_connect(made, (address, port))
        except OSError as error:  # TimeoutError is one
            made.close()
            failed = error
        except BaseException:
            made.close()
            raise
        else:
            return made
    raise failed
