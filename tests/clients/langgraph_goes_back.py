"""LangGraph carries out nodes again: after an interrupt, and when it goes back in time. The effect stays one.

python langgraph_goes_back.py URL TOKEN JOB ATTEMPT
"""

import asyncio
import sys
from typing import Any, TypedDict

from langchain_mcp_adapters.client import MultiServerMCPClient
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt


class Work(TypedDict):
    said: str
    posted: int


async def main(url: str, token: str, job: str, attempt: str) -> None:
    headers = {"Authorization": f"Bearer {token}", "Toolgate-Run": job, "Toolgate-Attempt": attempt}
    client = MultiServerMCPClient({"toolgate": {"transport": "streamable_http", "url": url, "headers": headers}})
    tools = {tool.name: tool for tool in await client.get_tools()}
    times = 0

    async def post(state: Work) -> dict[str, Any]:
        nonlocal times
        times += 1
        await tools["books_post"].ainvoke({"job": job, "n": 1, "amount": 101})
        return {"said": interrupt("Is that right?")}  # on resuming, the whole node is carried out again

    async def tell(state: Work) -> dict[str, Any]:
        return {"posted": state["posted"] + 1}

    graph = StateGraph(Work)
    graph.add_node("post", post)
    graph.add_node("tell", tell)
    graph.add_edge(START, "post")
    graph.add_edge("post", "tell")
    graph.add_edge("tell", END)
    agent = graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": job}}
    await agent.ainvoke({"said": "", "posted": 0}, config)
    done = await agent.ainvoke(Command(resume="yes"), config)
    assert done["said"] == "yes", done
    assert times == 2, times
    past = [state async for state in agent.aget_state_history(config) if state.next == ("post",)]
    await agent.ainvoke(None, past[-1].config)  # back to before the posting
    assert times == 3, times


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
