"""The pages of the connectors say what is declared, and their examples are configurations."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import connectors
from connectors.email import EmailConnector
from connectors.http import HttpConnector
from connectors.inbox import InboxConnector
from connectors.mcp import HttpServer, McpConnector, StdioServer
from connectors.openapi import OpenApiConnector
from connectors.sql import SqlConnector
from connectors.webhook import WebhookConnector
from gateway.cli import build
from gateway.connector import Connector
from tests.connectors.page import reference

FOLDER = Path(connectors.__file__).parent
PAGES: list[type[Connector[Any]]] = [
    EmailConnector,
    HttpConnector,
    InboxConnector,
    McpConnector,
    OpenApiConnector,
    SqlConnector,
    WebhookConnector,
]
SPEAK_HTTP = {HttpConnector, OpenApiConnector, WebhookConnector}
MARK = "compares -->\n\n"
SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="


def page(connector: type[Connector[Any]]) -> Path:
    return FOLDER / connector.name / "README.md"


def declared(connector: type[Connector[Any]]) -> str:
    models = (StdioServer, HttpServer) if connector is McpConnector else (connector.config_type,)
    return reference(*models, speaks_http=connector in SPEAK_HTTP)


@pytest.mark.parametrize("connector", PAGES)
def test_the_reference_of_a_page_is_what_the_connector_declares(connector: type[Connector[Any]]) -> None:
    written = page(connector).read_text("utf-8").partition(MARK)[2]
    assert written == declared(connector), "write it anew: python -m tests.connectors.test_pages"


@pytest.mark.parametrize("connector", PAGES)
def test_the_example_of_a_page_is_a_configuration(connector: type[Connector[Any]]) -> None:
    example = page(connector).read_text("utf-8").partition("```yaml\n")[2].partition("```")[0]
    sections = yaml.safe_load(re.sub(r"\$\{secret:\w+\}", SECRET, example))["mcpServers"].values()
    for section in sections:
        assert section.pop("connector", "mcp") == connector.name
        connector.configure(section, None)


def test_every_connector_is_on_the_page_of_all() -> None:
    text = (FOLDER / "README.md").read_text("utf-8")
    folders = {path.parent.name for path in FOLDER.glob("*/README.md")}
    assert folders == set(re.findall(r"\]\((\w+)/README\.md\)", text))


def test_every_command_of_the_page_exists() -> None:
    text = (FOLDER / "README.md").read_text("utf-8")
    commands = {tuple(words.split()) for words in re.findall(r"toolgate ([a-z]+(?: (?:new|test|list|set))?)\b", text)}
    assert len(commands) >= 5
    for words in commands:
        assert CliRunner().invoke(build(), [*words, "--help"]).exit_code == 0, words


if __name__ == "__main__":
    for each in PAGES:
        before, mark, _ = page(each).read_text("utf-8").partition(MARK)
        page(each).write_text(before + mark + declared(each), "utf-8")
