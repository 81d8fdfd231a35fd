"""Moves money, and trusts whoever calls: it pays as often as it is asked to."""

from typing import TypedDict

from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations

from examples.payments.servers import database

server = MCPServer("payments")
ledger = database(
    "PAYMENTS_DB",
    "CREATE TABLE IF NOT EXISTS payments (id INTEGER PRIMARY KEY, payment_id TEXT, payee TEXT, amount REAL, memo TEXT)",
)


class Receipt(TypedDict):
    """Proof of one payment."""

    receipt: str
    payment_id: str


@server.tool()
def pay(payment_id: str, payee: str, amount: float, reference: str = "") -> Receipt:
    """Pay one payment. Amount in euros; this cannot be undone."""
    row = ledger.execute(
        "INSERT INTO payments (payment_id, payee, amount, memo) VALUES (?, ?, ?, ?)",
        (payment_id, payee, amount, reference),
    )
    return {"receipt": f"r_{row.lastrowid}", "payment_id": payment_id}


@server.tool()
def transfer(account: str, amount: float) -> Receipt:
    """Transfer money to any account."""
    row = ledger.execute(
        "INSERT INTO payments (payment_id, payee, amount, memo) VALUES ('', ?, ?, 'transfer')", (account, amount)
    )
    return {"receipt": f"r_{row.lastrowid}", "payment_id": ""}


@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
def history() -> list[str]:
    """List the payments made so far."""
    rows = ledger.execute("SELECT payment_id, payee, amount FROM payments ORDER BY id").fetchall()
    return [f"{payment_id} {payee} {amount:.2f}" for payment_id, payee, amount in rows]


if __name__ == "__main__":
    server.run("stdio")
