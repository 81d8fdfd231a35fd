"""A pydantic-ai agent that reconciles in 50 steps, under a model that follows a script: unchanged client code.

python resume_with_pydantic_ai.py URL TOKEN JOB ATTEMPT
"""

import asyncio
import sys
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import UsageLimits

STEPS = 50


async def main(url: str, token: str, job: str, attempt: str) -> None:
    headers = {"Authorization": f"Bearer {token}", "Toolgate-Run": job, "Toolgate-Attempt": attempt}

    def script(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        parts: list[Any] = [part for message in messages for part in message.parts]
        returns = [part for part in parts if isinstance(part, ToolReturnPart)]
        n = len(returns) + 1
        if n > STEPS:
            return ModelResponse(parts=[TextPart("done")])
        if n % 2:
            return ModelResponse(parts=[ToolCallPart("books_entry", {"job": job, "n": n})])
        amount = returns[-1].content["amount"]
        return ModelResponse(parts=[ToolCallPart("books_post", {"job": job, "n": n, "amount": amount})])

    agent = Agent(FunctionModel(script), toolsets=[MCPToolset(url, headers=headers)])
    async with agent:
        done = await agent.run("Reconcile.", usage_limits=UsageLimits(request_limit=None))
    assert done.output == "done", done


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
