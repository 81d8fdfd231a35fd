"""Descriptions small enough to read in a test."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from connectors.openapi.document import Document
from connectors.openapi.operations import Making, operations_in
from connectors.rest.operation import Operation
from gateway.codec import dump
from gateway.connector.failures import Failures
from tests.connectors.rest.api import Api

__all__ = ["described", "made", "op", "section"]


def op(**more: Any) -> dict[str, Any]:
    """An operation that answers 204."""
    return {"operationId": "it", "responses": {"204": {"description": "done"}}, **more}


def described(paths: Mapping[str, Any], dialect: str = "3.0.3", **more: Any) -> dict[str, Any]:
    key = "swagger" if dialect == "2.0" else "openapi"
    return {key: dialect, "info": {"title": "t", "version": "1"}, "paths": paths, **more}


def made(description: Mapping[str, Any], *wanted: str, **making: Any) -> list[Operation]:
    """The operations of a description, straight from its text."""
    usual = {"failures": Failures({}), "filled": lambda place, name: False}
    return operations_in(Document.read(dump(description)), wanted or ("it",), Making(**{**usual, **making}))


def section(api: Api, folder: Path, description: Mapping[str, Any], *wanted: str, **more: Any) -> dict[str, Any]:
    """A section whose description is a file in `folder`."""
    (folder / "api.json").write_bytes(dump(description))
    return {
        "connector": "openapi",
        "spec": "api.json",
        "base_url": f"{api.url}/v1",
        "operations": list(wanted or ("it",)),
        "egress": {"allow_private": ["127.0.0.1"]},
        **more,
    }
