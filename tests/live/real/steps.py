"""What is done with a server: everything it lists, used, with picked and with generated arguments."""

import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.live.real.values import arguments
from tests.live.speaking import Speaker

__all__ = ["LISTS", "Plan", "Step", "carried_out", "steps_for"]

LISTS = {
    "tools/list": "tools",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
    "prompts/list": "prompts",
}
FOLDER = "{folder}"


@dataclass(frozen=True, slots=True)
class Step:
    """One request; FOLDER in it stands for the server's folder."""

    method: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {json.dumps(self.params)}"[:200]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a generator cannot know of a server: meaningful arguments, in an order that makes sense."""

    first: Sequence[Step] = ()
    choices: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Good values by the name of an argument."""
    generated: int = 4
    """How many sets of arguments are made up for each tool."""
    never: frozenset[str] = frozenset()
    """Tools that are only called as the plan says, because anything else takes long or never ends."""
    last: Sequence[Step] = ()


def steps_for(plan: Plan, listed: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Step]:
    """Return every step: the plan's own, each listed tool with made-up arguments, each resource, each plain prompt."""
    made_up = [
        Step("tools/call", {"name": tool["name"], "arguments": given})
        for tool in listed["tools/list"]
        if tool["name"] not in plan.never
        for given in _sets(tool, plan)
    ]
    reads = [Step("resources/read", {"uri": each["uri"]}) for each in listed["resources/list"]]
    plain = [Step("prompts/get", {"name": each["name"]}) for each in listed["prompts/list"] if not _needs(each)]
    return [*plan.first, *made_up, *reads, *plain, *plan.last]


def _sets(tool: Mapping[str, Any], plan: Plan) -> list[dict[str, Any]]:
    chance = random.Random(tool["name"])
    found = [arguments(tool["inputSchema"], chance, plan.choices) for _ in range(plan.generated)]
    return [each for n, each in enumerate(found) if each not in found[:n]]


def _needs(prompt: Mapping[str, Any]) -> bool:
    return any(each.get("required") for each in prompt.get("arguments", ()))


async def carried_out(
    speaker: Speaker, steps: Sequence[Step], folder: str, **meta: Any
) -> AsyncIterator[tuple[Step, dict[str, Any]]]:
    """Do the steps one after the other; yield each with its answer, and in it what was `asked` meanwhile."""
    for step in steps:
        asked = len(speaker.asked)
        params = json.loads(json.dumps(step.params).replace(FOLDER, folder))
        answer = await speaker.ask(step.method, params, **meta)
        whole = {**answer, "asked": speaker.asked[asked:]}
        yield step, json.loads(json.dumps(whole).replace(folder, FOLDER))
