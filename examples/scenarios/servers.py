"""What the agents of these examples use, as toys that keep nothing: `python -m examples.scenarios.servers helpdesk`."""

import sys

from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations

READ = ToolAnnotations(readOnlyHint=True)
helpdesk, crm, mail, repo, deploy = (MCPServer(name) for name in ("helpdesk", "crm", "mail", "repo", "deploy"))


@helpdesk.tool(annotations=READ)
def find_ticket(ticket: str) -> str:
    """Read a ticket."""
    return f"{ticket}: my order arrived broken."


@helpdesk.tool()
def reply(ticket: str, text: str) -> str:
    """Answer the customer."""
    return f"{ticket}: {text}"


@helpdesk.tool()
def credit(ticket: str, amount: float) -> str:
    """Give the customer a credit."""
    return f"{ticket}: credited {amount:.2f}"


@helpdesk.tool()
def take_back(ticket: str) -> str:
    """Take a credit back."""
    return f"{ticket}: taken back"


@crm.tool(annotations=READ)
def find_deal(name: str) -> dict[str, str]:
    """Find a deal by the name of its customer."""
    return {"id": "d_7", "name": name, "stage": "lead"}


@crm.tool()
def update_deal(id: str, stage: str = "", note: str = "", owner: str = "") -> str:
    """Change a deal."""
    return f"{id}: {stage or note or owner}"


@mail.tool()
def send(to: str, subject: str, body: str) -> str:
    """Send a mail."""
    return f"sent to {to}: {subject} ({len(body)} characters)"


@repo.tool(annotations=READ)
def read_file(repository: str, path: str) -> str:
    """Read a file."""
    return f"{repository}/{path}"


@repo.tool()
def open_pull_request(repository: str, branch: str, title: str) -> str:
    """Propose a change."""
    return f"{repository}#1: {title} ({branch})"


@repo.tool()
def merge(repository: str, number: int) -> str:
    """Merge a pull request."""
    return f"{repository}#{number} merged"


@deploy.tool()
def roll_out(version: str) -> str:
    """Roll a version out."""
    return f"{version} is out"


SERVERS = {server.name: server for server in (helpdesk, crm, mail, repo, deploy)}

if __name__ == "__main__":
    SERVERS[sys.argv[1]].run("stdio")
