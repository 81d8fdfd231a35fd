"""`python -m tests.conformance.everything`: run the reference server as a process of its own."""

import argparse
import asyncio
import socket
import warnings

import uvicorn
from mcp.server.runner import serve_dual_era_loop, serve_loop
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPDeprecationWarning

from tests.conformance.everything.era import Era, only_over_http, refuse_the_handshake
from tests.conformance.everything.events import KeptEvents
from tests.conformance.everything.server import build

RETRY_MS = 100
"""When a client whose stream was closed is asked to come back."""


def serve_http(era: Era, port: int) -> None:
    """Serve /mcp on 127.0.0.1; the first line printed is the URL (port 0 takes a free one)."""
    app = only_over_http(era, build().streamable_http_app(event_store=KeptEvents(), retry_interval=RETRY_MS))
    listener = socket.create_server(("127.0.0.1", port))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
    config = uvicorn.Config(app, http="h11", log_level="warning", access_log=False, timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])


async def serve_stdio(era: Era) -> None:
    """Serve one client over standard input and output."""
    server = build()
    options = server.create_initialization_options()
    if era == "modern":
        server.middleware.append(refuse_the_handshake)
    async with stdio_server() as (read, write), server.lifespan(server) as state:
        serve = serve_loop if era == "legacy" else serve_dual_era_loop
        await serve(server, read, write, lifespan_state=state, init_options=options)


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description="The reference server of the conformance runs.")
    parser.add_argument("--era", choices=("both", "legacy", "modern"), default="both")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--stdio", action="store_true", help="serve standard input and output instead of HTTP")
    given = parser.parse_args()
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    if given.stdio:
        asyncio.run(serve_stdio(given.era))
    else:
        serve_http(given.era, given.port)


if __name__ == "__main__":
    main()
