"""The files that `toolgate connector new` writes: a small connector that works, its other side, its tests."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

__all__ = ["Names", "files_of", "names_of"]

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST: Final = 40

_PYPROJECT: Final = """\
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "{package}"
version = "0.1.0"
description = "A Toolgate connector."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["toolgate"]
# Who answers for it, and where they write down what to do when it fails. `connector test --complete` asks for these.
# maintainers = [{{ name = "{title} team", email = "team@example.com" }}]
# urls = {{ Runbook = "https://example.com/runbook", Changelog = "https://example.com/changes" }}

[project.entry-points."gateway.connectors"]
{module} = "{module}:{kind}"

[project.entry-points."gateway.connector_doubles"]
{module} = "{module}_double:double"

[dependency-groups]
dev = ["pytest>=9", "pytest-asyncio>=1.2"]

[tool.hatch.build.targets.wheel]
only-include = ["{module}.py", "{module}_double.py"]

[tool.pytest.ini_options]
asyncio_mode = "auto"
asyncio_default_fixture_loop_scope = "function"
pythonpath = ["."]
"""

_CONNECTOR: Final = '''\
from typing import Any

from gateway import connector as toolgate


class {kind}Config(toolgate.ConnectorConfig):
    base_url: str
    api_key: toolgate.Secret  # "${{secret:{module}_key}}"; never printed, never reaches the agent


class {kind}(toolgate.Connector[{kind}Config]):
    """Contacts in {title}."""

    name = "{module}"

    @toolgate.tool(effect=toolgate.Effect.READ)
    async def find(self, call: toolgate.ToolCall, email: str) -> list[dict[str, str]]:
        """Find the contacts with an e-mail address."""
        found: list[dict[str, str]] = await self._ask("GET", "/contacts", call, params={{"email": email}})
        return found

    @toolgate.tool(effect=toolgate.Effect.WRITE, idempotent=True)
    async def add(self, call: toolgate.ToolCall, email: str, name: str) -> dict[str, str]:
        """Add a contact."""
        added: dict[str, str] = await self._ask("POST", "/contacts", call, json={{"email": email, "name": name}})
        return added

    async def _ask(self, method: str, path: str, call: toolgate.ToolCall, **more: Any) -> Any:
        key, once = self.config.api_key.reveal(), call.idempotency_key or ""
        headers = {{"Authorization": f"Bearer {{key}}", "Idempotency-Key": once}}
        reply = await self.http.request(method, path, headers=headers, **more)
        return reply.json()  # a failure was raised, as what its status means
'''

_DOUBLE: Final = '''\
"""The other side of {module}: a small {title} for its tests and for `toolgate connector test`."""

import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from gateway.connector import ToolCall

KEY = "a-key-for-tests-only"


class Contacts(BaseHTTPRequestHandler):
    """Keeps contacts in memory; adds each once per idempotency key."""

    def do_GET(self) -> None:
        self._answer(list(self.server.contacts.values()))

    def do_POST(self) -> None:
        contact = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(self.server.contacts.setdefault(self.headers["Idempotency-Key"], contact))

    def _answer(self, value: Any) -> None:
        known = self.headers["Authorization"] == f"Bearer {{KEY}}"
        status = self.server.status if known else 401
        body = json.dumps(value if status == 200 else {{"error": status}}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


class Server(ThreadingHTTPServer):
    """Answers with `status`, whatever it is asked."""

    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), Contacts)
        self.contacts: dict[str, Any] = {{}}
        self.status = status


@asynccontextmanager
async def double(status: int = 200) -> AsyncIterator[tuple[dict[str, Any], ToolCall]]:
    """Run it; give the settings that lead there, and a call that is safe to repeat."""
    server = Server(status)
    thread = threading.Thread(target=server.serve_forever, kwargs={{"poll_interval": 0.01}})
    thread.start()
    try:
        settings = {{"base_url": f"http://127.0.0.1:{{server.server_port}}", "api_key": KEY}}
        yield settings, ToolCall("find", {{"email": "ann@example.com"}}, "call_1", 5.0)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
'''

_TEST: Final = """\
from typing import Any

import pytest
from gateway.connector import ConnectorFault, Surroundings, ToolCall
from gateway.connector.testing import check_connector

from {module} import {kind}
from {module}_double import double


async def call(settings: dict[str, Any], *calls: ToolCall) -> list[Any]:
    upstream = {kind}.upstream({kind}.configure(settings, {{}}), Surroundings())
    await upstream.open()
    try:
        return [(await upstream.call(each))["structuredContent"] for each in calls]
    finally:
        await upstream.close()


async def test_it_keeps_the_contract() -> None:
    async with double() as (settings, sample):
        await check_connector({kind}, settings, sample=sample)


async def test_a_contact_is_added_once_however_often_it_is_tried() -> None:
    contact = {{"email": "ann@example.com", "name": "Ann"}}
    add = ToolCall("add", contact, "call_1", 5.0, "key-1")
    async with double() as (settings, find):
        assert await call(settings, add, add, find) == [contact, contact, {{"result": [contact]}}]


@pytest.mark.parametrize(
    ("status", "code"), [(401, "credential_expired"), (404, "rejected"), (429, "unavailable"), (503, "unavailable")]
)
async def test_a_failure_is_told_by_its_kind(status: int, code: str) -> None:
    async with double(status) as (settings, find):
        with pytest.raises(ConnectorFault) as caught:
            await call(settings, find)
    assert caught.value.code == code
"""

_README: Final = """\
# {package}

A connector for Toolgate: {title} as tools of an agent.

```
toolgate connector test .      # the contract every connector keeps, against {module}_double.py
pip install -e . pytest pytest-asyncio
pytest
```

`{module}.py` is the connector, `{module}_double.py` stands for the API behind it. Change both to what your API does.
Then, in the `gateway.yaml` of a gateway in whose environment the package is installed:

```yaml
mcpServers:
  crm: {{ connector: {module}, base_url: "https://api.example.com", api_key: "${{secret:{module}_key}}" }}
agents:
  assistant: {{ allow: ["crm.*"] }}
```

`toolgate secret set {module}_key` keeps the key, `toolgate doctor` shows whether the connector answers.
"""


@dataclass(frozen=True, slots=True)
class Names:
    """What a new connector is called: its package, module, class, and in a sentence."""

    package: str
    module: str
    kind: str
    title: str


def names_of(name: str) -> Names:
    """Return the names that follow from `name`.

    Raises:
        ValueError: it is no name for a package, or its module would hide another one.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise ValueError("a name is lower-case words with hyphens between them, such as acme-crm")
    module = name.replace("-", "_")
    if module in sys.stdlib_module_names or find_spec(module) is not None:
        raise ValueError(f"there is a module called {module} already: choose another name")
    words = [word.capitalize() for word in name.split("-")]
    return Names(name, module, "".join(words), " ".join(words))


def files_of(names: Names) -> Mapping[str, str]:
    """Return the text of every file of a new connector, by its path in the package's folder."""
    templates = {
        "pyproject.toml": _PYPROJECT,
        "README.md": _README,
        f"{names.module}.py": _CONNECTOR,
        f"{names.module}_double.py": _DOUBLE,
        f"tests/test_{names.module}.py": _TEST,
    }
    said = {"package": names.package, "module": names.module, "kind": names.kind, "title": names.title}
    return {path: text.format_map(said) for path, text in templates.items()}
