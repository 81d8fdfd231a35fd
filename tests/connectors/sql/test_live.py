"""A database behind the built gateway: read by an agent, and never written to."""

import hashlib
from pathlib import Path

from tests.live.running import Running, environment

CONFIG = """version: 1
server: {{ listen: "127.0.0.1:0" }}
mcpServers:
  shop:
    connector: sql
    url: "sqlite:///{file}"
    statements:
      rename:
        sql: UPDATE accounts SET owner = :owner WHERE id = :id
        parameters: {{ id: {{ type: integer }}, owner: {{ type: string }} }}
        effect: write
agents:
  reader: {{ allow: ["shop.query", "shop.schema"] }}
  clerk: {{ allow: ["shop.rename"] }}
"""


def test_an_agent_reads_and_only_a_declared_statement_writes(tmp_path: Path, file: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(CONFIG.format(file=file))
    gateway = Running(tmp_path, env=environment()).start()
    try:
        reader, clerk = gateway.token("reader"), gateway.token("clerk")
        before = hashlib.sha256(file.read_bytes()).digest()
        sql = "SELECT owner FROM accounts WHERE id = :id"
        found = gateway.call(reader, "shop_query", {"sql": sql, "parameters": {"id": 2}})
        assert found["structuredContent"]["rows"] == [{"owner": "bob"}]
        refused = gateway.call(reader, "shop_query", {"sql": "WITH a AS (SELECT 1) DELETE FROM accounts"})
        assert refused["isError"]
        denied = gateway.call(reader, "shop_rename", {"id": 2, "owner": "eve"})
        assert denied["isError"]
        assert hashlib.sha256(file.read_bytes()).digest() == before
        renamed = gateway.call(clerk, "shop_rename", {"id": 2, "owner": "eve"})
        assert renamed["structuredContent"]["affected"] == 1
    finally:
        gateway.stop()
