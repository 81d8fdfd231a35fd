"""Where the gateway answers otherwise than a server of the SDK, and why. One entry per reason; nothing else may differ.

`says` are patterns of what the SDK's server and the gateway say (`exchanges.Said`), `cases` name the requests.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tests.live.sdk.exchanges import Case, Said

__all__ = ["DIFFERENCES", "Difference", "folded"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One reason; `cases` maps an era to the names of its cases."""

    why: str
    cases: Mapping[str, frozenset[str]]
    sdk: str
    gateway: str

    def explains(self, case: Case, sdk: str, gateway: str) -> bool:
        named = case.name in self.cases.get(case.era, ())
        return named and bool(re.fullmatch(self.sdk, sdk)) and bool(re.fullmatch(self.gateway, gateway))


def folded(said: Said) -> str:
    """Return an answer without what the specification leaves to the server and no client goes by.

    - One message may come as plain JSON or as a stream of one event: the gateway begins a stream only when something
      is said before the answer.
    - The session id is on every answer of the SDK in a session; the specification wants it on that to `initialize`.
    - A refusal may have a body: the gateway's always do, so that people can read why.
    - An answer of no content has no content type.
    - A refusal of HTTP carries the id of the request where it could be read; the SDK never reads it.
    """
    refused = said.status in range(400, 500) and said.messages[0:1] != () and "error -32600" in said.messages[0]
    if refused or (said.status >= 400 and not said.messages):
        return f"{said.status} refused"
    kind = "" if said.status in {200, 202} else said.kind
    headers = [name for name in sorted(said.headers) if name != "mcp-session-id"]
    return " ".join(filter(None, [str(said.status), kind, *headers, *said.messages]))


def _both(*names: str) -> Mapping[str, frozenset[str]]:
    return {"legacy": frozenset(names), "modern": frozenset(names)}


def _legacy(*names: str) -> Mapping[str, frozenset[str]]:
    return {"legacy": frozenset(names)}


DIFFERENCES = (
    Difference(
        "A call that cannot be made is a result the model can read: only then does the reason reach it in every agent "
        "framework measured.",
        _both("a call of a tool that is not there"),
        "(200|400 application/json) 1:error -32602",
        r"200 1:result\(.*structuredContent\)",
    ),
    Difference(
        "The specification asks for -32602 on a cursor that is none. The SDK leaves cursors to the server's author.",
        _both("tools after a cursor that is none"),
        r"200 1:result\(.*\)",
        "(200|400 application/json) 1:error -32602",
    ),
    Difference(
        "What is no JSON-RPC request is -32600, Invalid Request; the SDK says Invalid params.",
        _legacy(
            "a text",
            "a batch",
            "an empty batch",
            "another version of JSON-RPC",
            "no version of JSON-RPC",
            "no method",
            "a method that is a number",
            "params that are a list",
        ),
        "400 application/json None:error -32602",
        "400 refused",
    ),
    Difference(
        "An id that is none makes the SDK take a request for a notification, and nobody would ever get the answer.",
        _legacy("an id that is null", "an id that is a fraction", "an id that is true", "an id that is a list"),
        "202",
        "400 refused",
    ),
    Difference(
        "The status for another content type is 415.",
        _both("a text for content", "no content type"),
        "400 refused",
        "415 refused",
    ),
    Difference(
        "A client that reads JSON alone is answered in JSON; it hears of no progress and can be asked nothing.",
        _both("streams are not taken", "no word of what is taken"),
        "406 refused",
        r"200 1:result\(.*\)",
    ),
    Difference(
        "Many clients leave out who they are, or what they can do; nothing is decided on what they say.",
        _legacy("a handshake without a client"),
        "200 1:error -32602",
        r"200 1:result\(.*\)",
    ),
    Difference(
        "An ended session has nothing left to say: 204.",
        _legacy("DELETE"),
        "200",
        "204",
    ),
)
