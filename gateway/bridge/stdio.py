"""`toolgate stdio`: the command a host starts."""

import argparse
import re
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from gateway.bridge.launch import Home, Launcher
from gateway.bridge.messages import Malformed
from gateway.bridge.relay import Output, Relay

__all__ = ["main", "run"]

_AGENT: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_ENDPOINT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_RUN: Final = re.compile(r"[\x21-\x7e]{1,200}")
_LONGEST_LINE: Final = 16 * 1024 * 1024
_PATIENCE_S: Final = 10.0


def main(arguments: Sequence[str]) -> int:
    """Relay between this process's pipes and the gateway until the host closes them; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="toolgate stdio",
        description="Speak MCP on standard input and output for a host that starts its servers itself. "
        "Talks to the running gateway, and starts it when it is not running.",
    )
    parser.add_argument("--config", type=Path, default=Path("gateway.yaml"), help="the gateway's configuration file")
    parser.add_argument("--agent", default="local", help="the agent of the configuration this host acts as")
    parser.add_argument("--endpoint", default="", help="the virtual endpoint to serve, of those in the configuration")
    parser.add_argument("--run", default="", help="the piece of work: started again, the agent goes on where it was")
    options = parser.parse_args(arguments)
    if not _AGENT.fullmatch(options.agent):
        parser.error(f"--agent {options.agent!r}: lower-case letters, digits, '.', '_' and '-' only")
    if options.endpoint and not _ENDPOINT.fullmatch(options.endpoint):
        parser.error(f"--endpoint {options.endpoint!r}: letters, digits, '_' and '-' only, at most 32")
    if options.run and not _RUN.fullmatch(options.run):
        parser.error(f"--run {options.run!r}: 1 to 200 visible ASCII characters")
    launcher = Launcher(Home(options.config.expanduser().absolute()), options.agent)
    try:
        path = f"/mcp/{options.endpoint}" if options.endpoint else "/mcp"
        run(Relay(launcher, Output(sys.stdout.fileno()), path=path, extra=_attempt(options.run)), sys.stdin.buffer)
    except KeyboardInterrupt:
        return 130
    return 0


def _attempt(name: str) -> Mapping[str, str]:
    """Return the headers of a named run: every process of this program is a new attempt at it."""
    return {"Toolgate-Run": name, "Toolgate-Attempt": secrets.token_hex(8)} if name else {}


def run(relay: Relay, lines: BinaryIO, longest: int = _LONGEST_LINE) -> None:
    """Feed `relay` with `lines` (of at most `longest` bytes) until they end, then let it finish."""
    while line := lines.readline(longest):
        if len(line) == longest and not line.endswith(b"\n"):
            while rest := lines.readline(longest):
                if rest.endswith(b"\n"):
                    break
            relay.reject(Malformed(-32600, f"Invalid request: the line is longer than {longest} bytes"))
        elif line.strip():
            relay.accept(line)
    relay.finish(_PATIENCE_S)
