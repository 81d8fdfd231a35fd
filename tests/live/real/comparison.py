"""Two answers to the same request: the same, or different for a reason that is written down here."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.codec import canonical
from tests.live.real.steps import Step

__all__ = ["DIFFERENCES", "Difference", "compared", "read_as"]

Answer = dict[str, Any]
SERVER_INFO = "io.modelcontextprotocol/serverInfo"


@dataclass(frozen=True, slots=True)
class Difference:
    """Answers that may differ, and why that is right. `explains` is given both, as they are read."""

    name: str
    why: str
    servers: frozenset[str]
    """Where it does occur: an entry that explains nothing fails the test."""
    explains: Callable[[Step, Answer, Answer], bool]


def read_as(answer: Answer, masks: Sequence[tuple[str, str]]) -> Answer:
    """Return what an answer says in either era, at any time.

    An era's own words are `resultType`, `ttlMs`, `cacheScope` and the server's name in `_meta`; what a 2026-07-28
    server says with them is that the result is complete, may not be kept, and who it is. A question without params is
    one with empty ones. For its client's roots server-everything asks by itself, a while after it was connected to.
    """
    text = json.dumps(answer, ensure_ascii=False)
    for pattern, instead in masks:
        text = re.sub(pattern, instead, text)
    found: Answer = json.loads(text)
    result = found.get("result")
    if result is not None:
        for name in ("resultType", "ttlMs", "cacheScope"):
            result.pop(name, None)
        result.get("_meta", {}).pop(SERVER_INFO, None)
        if result.get("_meta") == {}:
            del result["_meta"]
    asked = [{name: said for name, said in each.items() if said} for each in found.get("asked", ())]
    found["asked"] = [each for each in asked if each["method"] != "roots/list"]
    return found


def compared(server: str, step: Step, direct: Answer, gated: Answer) -> str | None:
    """Return "" for the same, the name of the difference that explains it, or None."""
    if canonical(direct) == canonical(gated):
        return ""
    known = (each for each in DIFFERENCES if server in each.servers and each.explains(step, direct, gated))
    return next((each.name for each in known), None)


def _refused_by_the_gateway(answer: Answer) -> str:
    return str(answer.get("result", {}).get("_meta", {}).get("io.toolgate/refusal", {}).get("code", ""))


DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        "arguments",
        "Arguments that break the tool's own schema are refused by the gateway: what policies decide on has to be what "
        "the schema promises. The server would have refused them too, in its own words.",
        frozenset({"everything"}),
        lambda step, direct, gated: (
            _refused_by_the_gateway(gated) == "invalid_arguments" and direct["result"]["isError"] is True
        ),
    ),
    Difference(
        "task",
        "A tool that its server makes only tasks of refuses whoever does not ask for one. A client of 2026-07-28 "
        "cannot ask; the gateway does, and waits for the end: the client gets the result.",
        frozenset({"everything"}),
        lambda step, direct, gated: (
            "requires task augmentation" in json.dumps(direct) and gated["result"].get("isError") is not True
        ),
    ),
)
