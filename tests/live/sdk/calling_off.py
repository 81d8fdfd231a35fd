"""A call that its client calls off: what comes on the call's own response, and what its tool hears of it."""

import json
from dataclasses import dataclass, replace

import httpx2

from tests.live.sdk.exchanges import Case, Place, dressed, exchanged, made

__all__ = ["CalledOff", "called_off"]


@dataclass(frozen=True, slots=True)
class CalledOff:
    """What was said: errors of the call once called off, the status of that, and whether its tool heard of it."""

    errors: list[int]
    status: int
    heard: bool


async def called_off(http: httpx2.AsyncClient, place: Place, era: str, label: str, **more: str) -> CalledOff:
    """Make a call that waits, call it off as the era does, and return what was said once its server knows.

    2026-07-28 closes the response, earlier eras send a notification.
    """
    params = {"name": "test_waiting", "arguments": {"label": label}, "_meta": {"progressToken": label}}
    body, headers = dressed(era, "tools/call", params, label)
    call = Case("a call that waits", era, body, headers=headers)
    reply = await http.send(made(http, place, call, **more), stream=True)
    lines = (line async for line in reply.aiter_lines() if line.startswith("data:") and line[5:].strip())
    assert "notifications/progress" in await anext(lines)
    status, errors = 0, []
    if era == "legacy":
        body, headers = dressed(era, "notifications/cancelled", {"requestId": label, "reason": "why"}, "")
        status = (await exchanged(http, place, replace(call, body=body, headers=headers), **more)).status_code
        errors = [json.loads(line[5:])["error"]["code"] async for line in lines]
    await reply.aclose()
    body, headers = dressed(era, "tools/call", {"name": "test_called_off", "arguments": {"label": label}}, f"{label}?")
    told = await exchanged(http, place, replace(call, body=body, headers=headers), **more)
    return CalledOff(errors, status, "It was called off" in told.text)
