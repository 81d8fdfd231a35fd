"""The `http` connector behind a real gateway: what an agent gets of it, and what it never gets."""

import asyncio
from pathlib import Path
from typing import Any

from tests.connectors.rest.api import Api, answer
from tests.live.running import Running, environment, refusal

KEY = "sk-live-canary-0123456789"
CONFIG = """version: 1
server: {{ listen: "127.0.0.1:0" }}
mcpServers:
  crm:
    connector: http
    base_url: {url}/v1
    auth: {{ type: bearer, token: "${{CRM_KEY}}" }}
    idempotency_header: Idempotency-Key
    egress: {{ allow_private: [127.0.0.1] }}
    tools:
      list: {{ description: List., method: GET, path: /notes, effect: read }}
      add:
        description: Add.
        method: POST
        path: /notes
        effect: write
        input: {{ type: object, properties: {{ note: {{ type: string }} }}, required: [note] }}
      drop: {{ description: Drop., method: DELETE, path: /notes, effect: irreversible }}
agents: {{ clerk: {{ allow: ["crm.*"] }} }}
"""


def use(home: Path) -> tuple[list[dict[str, Any]], str]:
    """Call every tool; return the results and everything the agent and the disk saw."""
    running = Running(home, env=environment(CRM_KEY=KEY)).start()
    try:
        token = running.token("clerk")
        results = [
            running.call(token, "crm_list", {}),
            running.call(token, "crm_add", {"note": "n"}, key="k1"),
            running.call(token, "crm_add", {"note": "n"}, key="k1"),
            running.call(token, "crm_drop", {}),
        ]
        traced = running.command("trace", "list", "--tool", "crm.*", "--json").stdout
    finally:
        running.stop()
    kept = b"".join(path.read_bytes() for path in home.glob("gateway.*")).decode("utf-8", "replace")
    return results, str(results) + traced + running.log() + kept


async def test_pages_keys_and_refusals_reach_the_agent_and_the_credential_reaches_nobody(tmp_path: Path) -> None:
    async with Api() as api:
        api.on("GET /v1/notes", answer({"seen": f"Bearer {KEY}"}, Link="</v1/notes?page=2>; rel=next"))
        api.on("POST /v1/notes", answer({"id": 7}, "201 Created"))
        api.on("DELETE /v1/notes", answer(f"no: {KEY}".encode(), "401 Unauthorized", "text/plain"))
        (tmp_path / "gateway.yaml").write_text(CONFIG.format(url=api.url))
        (listed, added, again, dropped), everything = await asyncio.to_thread(use, tmp_path)
        assert listed["_meta"]["io.toolgate/incomplete"]["next"] == "/v1/notes?page=2"
        assert added["structuredContent"] == again["structuredContent"] == {"id": 7}
        assert refusal(dropped)["code"] == "credential_expired"
        assert KEY not in everything
        posts = [seen for seen in api.seen if seen.method == "POST"]
        assert len(posts) == 1
        assert posts[0].headers["idempotency-key"]
        assert posts[0].headers["authorization"] == f"Bearer {KEY}"
