"""What the agent tells a fault server to do, call by call, and the tools that it is told through."""

from typing import Any, Final

from tests.fixtures.book import Book

__all__ = ["KEY", "TOOLS", "step"]

KEY: Final = "io.toolgate/idempotency-key"
_INPUT: Final = {"type": "object", "properties": {"ref": {"type": "string"}, "do": {"type": "array"}}}
TOOLS: Final = [
    {"name": name, "inputSchema": _INPUT}
    for name in ("read", "pay", "keyed", "brief_read", "brief_pay", "brief_keyed", "hedged_read")
]


def step(book: Book, params: dict[str, Any]) -> str:
    """Note an attempt, have the effect if it is due now, and return what is to be done: the next of `do`, or the last.

    `when: before` has the effect before whatever is done, else it is had only where nothing goes wrong (`ok`).
    """
    asked, tool = params["arguments"], params["name"]
    number = book.attempt(asked["ref"])
    what = str(asked["do"][min(number, len(asked["do"]) - 1)])
    if not tool.endswith("read") and (what == "ok" or asked.get("when") == "before"):
        book.effect(asked["ref"], params.get("_meta", {}).get(KEY) if tool.endswith("keyed") else None)
    return what
