"""A LangGraph agent that reconciles in 50 steps: unchanged client code, and a checkpointer that dies with it.

python resume_with_langgraph.py URL TOKEN JOB ATTEMPT
"""

import asyncio
import json
import sys
from typing import Any, TypedDict

from langchain_mcp_adapters.client import MultiServerMCPClient
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph

STEPS = 50


class Work(TypedDict):
    n: int
    amount: int


def structured(answer: Any) -> Any:
    blocks = answer if isinstance(answer, list) else [answer]
    text = next(block["text"] if isinstance(block, dict) else block for block in blocks)
    return json.loads(text)


async def main(url: str, token: str, job: str, attempt: str) -> None:
    headers = {"Authorization": f"Bearer {token}", "Toolgate-Run": job, "Toolgate-Attempt": attempt}
    client = MultiServerMCPClient({"toolgate": {"transport": "streamable_http", "url": url, "headers": headers}})
    tools = {tool.name: tool for tool in await client.get_tools()}

    async def read(state: Work) -> Work:
        n = state["n"]
        entry = structured(await tools["books_entry"].ainvoke({"job": job, "n": n}))
        return {"n": n, "amount": entry["amount"]}

    async def post(state: Work) -> Work:
        n = state["n"] + 1
        answer = await tools["books_post"].ainvoke({"job": job, "n": n, "amount": state["amount"]})
        assert structured(answer) == {"receipt": f"{job}-{n}"}, answer
        return {"n": n + 1, "amount": 0}

    graph = StateGraph(Work)
    graph.add_node("read", read)
    graph.add_node("post", post)
    graph.add_edge(START, "read")
    graph.add_edge("read", "post")
    graph.add_conditional_edges("post", lambda state: END if state["n"] > STEPS else "read")
    agent = graph.compile(checkpointer=InMemorySaver())
    await agent.ainvoke({"n": 1, "amount": 0}, {"configurable": {"thread_id": job}, "recursion_limit": 500})


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
