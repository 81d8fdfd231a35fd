"""The HTTP client that a plugin is lent: no failure is taken for an answer."""

from typing import Any

import httpx2

from gateway.connector.failures import Failures

__all__ = ["PluginClient"]


class PluginClient(httpx2.AsyncClient):
    """Raises for every answer that is no success, as `raise_for_status` does, except for what the plugin reads."""

    def __init__(self, failures: Failures, **more: Any) -> None:
        super().__init__(**more)
        self._failures = failures

    async def send(self, request: httpx2.Request, **more: Any) -> httpx2.Response:
        """Send a request. Raises `httpx2.HTTPStatusError` besides what its own `send` raises."""
        answer = await super().send(request, **more)
        if not answer.is_success and not self._failures.is_read(answer.status_code):
            await answer.aclose()
            answer.raise_for_status()
        return answer
