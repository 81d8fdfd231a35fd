"""The user of an unchanged MCP client, on a machine of its own, is asked there before a mail goes out."""

import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest
import pytest_asyncio
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.types import ElicitResult

from tests.live.inside import Inside, call, code, inside
from tests.live.test_approvals import CONFIG, with_pack

pytestmark = pytest.mark.asyncio(loop_scope="module")
OWN = """
@id("own.mail") @obligation("self_approval:allowed")
permit (principal, action == Gateway::Action::"approve", resource == Gateway::Tool::"mail.send");
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inside]:
    home: Path = tmp_path_factory.mktemp("eliciting")
    async with inside(home, CONFIG.replace("wait_s: 1.5", 'wait_s: 1.5, elicitation: ["mail.*"]')) as running:
        with_pack(home)
        (home / "policies" / "own.cedar").write_text(OWN, encoding="utf-8")
        assert await running.gateway.reload(running.gateway.config) == ""
        yield running


def sent(gate: Inside, subject: str) -> int:
    with closing(sqlite3.connect(gate.database("mail"))) as file:
        return int(file.execute("SELECT count(*) FROM sent WHERE subject = ?", (subject,)).fetchone()[0])


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(("action", "ends"), [("accept", "ok"), ("decline", "approval_denied")])
async def test_a_mail_goes_out_where_its_user_says_so_in_the_client(
    gate: Inside, mode: str, action: Literal["accept", "decline"], ends: str
) -> None:
    asked: list[str] = []

    async def user(context: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        assert sent(gate, mail["subject"]) == 0
        return ElicitResult(action=action, content={})

    mail = {"recipient": "bank@acme.example", "subject": f"{mode} {action}", "body": "Hello."}
    bridge = ["-m", "gateway", "stdio", "--config", str(gate.home / "gateway.yaml"), "--agent", "payer"]
    host = stdio_client(StdioServerParameters(command=sys.executable, args=bridge))
    async with Client(host, mode=mode, cache=None, elicitation_callback=user) as client:
        assert code(await call(client, "mail_send", mail)) == ends
    [message] = asked
    assert f'"subject": "{mode} {action}"' in message
    assert "as approved by finance@acme.example" in message
    assert sent(gate, mail["subject"]) == (1 if ends == "ok" else 0)
