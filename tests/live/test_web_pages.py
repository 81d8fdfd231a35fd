"""A web page, in a real browser, uses the gateway as an MCP client; only where its origin is named."""

from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from gateway.transport.server import listen, serving
from tests.fixtures.chromium import Chromium
from tests.live.inside import inside
from tests.live.running import LEGACY, payments_alone

_ASKING = """<p id=said>asking</p><script>
const [gateway, token] = decodeURIComponent(location.hash.slice(1)).split(" ");
const ask = (method, params, more) => fetch(gateway, {
  method: "POST", body: JSON.stringify({jsonrpc: "2.0", id: 1, method, params}),
  headers: {"content-type": "application/json", authorization: `Bearer ${token}`, ...more},
});
(async () => {
  const clientInfo = {name: "page", version: "1"};
  const opened = await ask("initialize", {protocolVersion: VERSION, capabilities: {}, clientInfo});
  const session = {"mcp-session-id": opened.headers.get("mcp-session-id"), "mcp-protocol-version": VERSION};
  const listed = await (await ask("tools/list", {}, session)).json();
  return listed.result.tools.map((tool) => tool.name).join(" ");
})().catch((error) => `no: ${error}`).then((text) => { said.textContent = `heard ${text}`; });
</script>""".replace("VERSION", f'"{LEGACY}"')


async def _page(scope: Scope, receive: Receive, send: Send) -> None:
    del scope, receive
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": _ASKING.encode()})


@pytest.mark.parametrize("named", ["http://localhost:{port}", "http://localhost:1"])
async def test_a_page_lists_tools_in_a_session_where_its_origin_is_named(
    browser: Chromium, tmp_path: Path, named: str
) -> None:
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    config = payments_alone(tmp_path, "effect: irreversible, accept_irreversible: true").replace(
        "server: {", f'server: {{ origins: ["{named.format(port=port)}"],'
    )
    config += 'agents: { payer: { owner: a@b.example, auth: { token: true }, allow: ["payments.*"] } }\n'
    async with serving(_page, listener), inside(tmp_path, config) as gate:
        await browser.fresh()
        await browser.open(f"http://localhost:{port}/#{gate.url}%20{gate.tokens['payer']}")
        heard = await browser.until("heard ")
    assert ("payments_pay" in heard) == (named != "http://localhost:1"), heard
