"""What holds a gateway up that stops once nobody needs it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

__all__ = ["Leases"]

_HEARTBEAT_S: Final = 5.0


class Leases:
    """Bridges that hold the gateway up. `left` is set once the last of them has gone."""

    def __init__(self) -> None:
        self._held = 0
        self.left = asyncio.Event()

    async def hold(self) -> AsyncIterator[bytes]:
        """Hold a lease while this stream is read."""
        self._held += 1
        self.left.clear()
        try:
            while True:
                yield b"\n"
                await asyncio.sleep(_HEARTBEAT_S)
        finally:
            self._held -= 1
            if self._held == 0:
                self.left.set()
