"""The running gateway, asked as the machine's own operator."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.app import operator_token
from gateway.cli.loaded import Loaded
from gateway.cli.output import Refused
from gateway.cli.place import home_of

__all__ = ["NOT_UP", "Running", "running"]

NOT_UP: Final = Refused("not_up", "the gateway is not up", "start it with: toolgate up")


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway that is up; `note` is what it wrote down about itself."""

    note: Mapping[str, Any]
    token: str

    def ask(self, path: str, body: Mapping[str, Any] | None = None, timeout_s: float = 5.0) -> Any:
        """Return the JSON that it answers a GET, or a POST of `body`, with; None where it does not answer.

        What it refuses comes back as it says it: an object with `error` and `message`.
        """
        import httpx2

        headers = {"Authorization": f"Bearer {self.token}"}
        method = "GET" if body is None else "POST"
        try:
            url = f"{self.note['url']}{path}"
            reply = httpx2.request(method, url, json=body, headers=headers, timeout=timeout_s)
            answer = reply.json()
        except (ValueError, httpx2.HTTPError):
            return None
        return None if reply.status_code == 401 else answer


def running(loaded: Loaded) -> Running | None:
    """Return the gateway that runs in this folder, if one has written down that it does."""
    home = home_of(loaded)
    try:
        note = json.loads((home.path / ".toolgate" / "run.json").read_text(encoding="utf-8"))
        token = operator_token((home.path / loaded.config.identity.local_key).read_bytes().strip())
    except (OSError, ValueError):
        return None
    return Running(note, token) if isinstance(note, dict) and isinstance(note.get("url"), str) else None
