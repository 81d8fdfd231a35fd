"""Checks a payment for fraud and keeps every check it made."""

from typing import Literal, TypedDict

from mcp.server.mcpserver import MCPServer

from examples.payments.servers import database

server = MCPServer("fraud")
checks = database(
    "FRAUD_DB",
    "CREATE TABLE IF NOT EXISTS checks (id INTEGER PRIMARY KEY, payment_id TEXT, payee TEXT, amount REAL, result TEXT)",
)

BLOCKED_PAYEES = {"Mallory Ltd"}
LIMIT = 10_000


class Verdict(TypedDict):
    """What a check found."""

    payment_id: str
    result: Literal["passed", "failed"]
    reason: str


@server.tool()
def check(payment_id: str, payee: str, amount: float) -> Verdict:
    """Check one payment for fraud. Amount in euros."""
    if not payee:
        raise ValueError("a payment needs a payee")
    reason = "payee is blocked" if payee in BLOCKED_PAYEES else "amount over the limit" if amount > LIMIT else ""
    result: Literal["passed", "failed"] = "failed" if reason else "passed"
    checks.execute(
        "INSERT INTO checks (payment_id, payee, amount, result) VALUES (?, ?, ?, ?)",
        (payment_id, payee, amount, result),
    )
    return {"payment_id": payment_id, "result": result, "reason": reason}


if __name__ == "__main__":
    server.run("stdio")
