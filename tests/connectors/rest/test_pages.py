"""The page of each connector says what its declarations say, and its example is a configuration."""

from pathlib import Path

import pytest
import yaml

import connectors
from connectors.http import HttpConfig, HttpConnector
from connectors.openapi import OpenApiConfig, OpenApiConnector
from connectors.rest.config import ApiConfig
from tests.connectors.rest.page import reference

FOLDER = Path(connectors.__file__).parent
PAGES = [("http", HttpConfig), ("openapi", OpenApiConfig)]


def page(name: str) -> str:
    return (FOLDER / name / "README.md").read_text("utf-8")


@pytest.mark.parametrize(("name", "model"), PAGES)
def test_the_reference_of_a_page_is_what_the_connector_declares(name: str, model: type[ApiConfig]) -> None:
    written = page(name).partition("compares -->\n\n")[2]
    assert written == reference(model), "write it anew: python -m tests.connectors.rest.page"


@pytest.mark.parametrize("connector", [HttpConnector, OpenApiConnector])
def test_the_example_of_a_page_is_a_configuration(connector: type[HttpConnector] | type[OpenApiConnector]) -> None:
    example = page(connector.name).partition("```yaml\n")[2].partition("```")[0]
    for section in yaml.safe_load(example)["mcpServers"].values():
        assert section.pop("connector") == connector.name
        connector.configure(section, None)
