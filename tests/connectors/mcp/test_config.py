"""What an `mcpServers` entry may say, and what is refused before anything starts."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from connectors.mcp import HttpServer, McpConnector, StdioServer
from gateway.connector import ConnectorFault
from gateway.connector.registry import build_upstream, load_connectors
from gateway.connector.testing import check_connector
from tests.connectors.mcp.conftest import asked, build, stdio
from tests.fixtures.fault_http import FaultServer


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ({"command": "uvx", "args": ["acme"], "env": {"K": "v"}, "cwd": "/tmp"}, StdioServer),
        ({"type": "stdio", "command": "uvx"}, StdioServer),
        (
            {"type": "http", "url": "https://mcp.example/mcp?key=1", "headers": {"X-Key": "x"}},
            HttpServer,
        ),
        ({"type": "streamable-http", "url": "http://[::1]:8080"}, HttpServer),
        ({"url": "http://localhost", "protocol": "legacy"}, HttpServer),
    ],
)
def test_the_form_every_client_reads_is_read(section: dict[str, Any], kind: type) -> None:
    assert isinstance(McpConnector.configure(section, {}), kind)


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ({"command": "uvx", "cmd": 1}, "cmd"),
        ({"command": ""}, "command"),
        ({}, "command"),
        ({"type": "http", "command": "x"}, "type"),
        ({"type": "websocket", "url": "http://x"}, "type"),
        ({"type": "sse", "url": "http://x", "protocol": "modern"}, "only the legacy one"),
        ({"url": "http://x", "command": "x"}, "command"),
        ({"command": "x\0y"}, "no NUL"),
        ({"command": "x", "args": ["a\0b"]}, "no NUL"),
        ({"command": "x", "cwd": "/\0"}, "no NUL"),
        ({"command": "x", "env": {"A": "a\0b"}}, "no NUL"),
        ({"command": "x", "env": {"A=B": "c"}}, "variable's name"),
        ({"command": "x", "env": {"": "c"}}, "variable's name"),
        ({"url": "ftp://x"}, "http:// or https://"),
        ({"url": "http:///mcp"}, "http:// or https://"),
        ({"url": "http://x/a b"}, "percent-encode"),
        ({"url": "http://x/\r\nHost: y"}, "percent-encode"),
        ({"url": "http://bücher.example"}, "percent-encode"),
        ({"url": "http://user:pass@x"}, "credentials go into headers"),
        ({"url": "http://x:0"}, "port 0"),
        ({"url": "http://x:99999"}, "url"),
        ({"url": "http://x", "headers": {"X Y": "1"}}, "not a header name"),
        ({"url": "http://x", "headers": {"": "1"}}, "not a header name"),
        ({"url": "http://x", "headers": {"Host": "evil"}}, "set by the gateway"),
        ({"url": "http://x", "headers": {"mcp-session-id": "1"}}, "set by the gateway"),
        ({"url": "http://x", "headers": {"X": "a\r\nY: b"}}, "cannot carry"),
        ({"url": "http://x", "headers": {"X": "${env:MISSING}"}}, "MISSING is not set"),
        ({"url": "http://x", "headers": {"X": "${secret:a}"}}, "env:NAME"),
        ({"url": "https://x", "ca_file": "/no/such/file"}, "No such file"),
        ({"url": "https://x", "ca_file": __file__}, "cannot be read as certificates"),
        ({"url": "http://x", "max_message_bytes": 0}, "max_message_bytes"),
    ],
)
def test_anything_else_is_refused_with_its_reason(section: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        build(section)
    assert why in str(caught.value)


def test_no_secret_shows_in_a_configuration_or_its_errors() -> None:
    section = {"url": "http://x?key=hunter2", "headers": {"X": "Bearer ${env:K}"}}
    config = McpConnector.configure(section, {"K": "hunter2"})
    assert isinstance(config, HttpServer)
    assert "hunter2" not in repr(config) + str(config) + config.model_dump_json(exclude={"url"})
    assert config.headers["X"].reveal() == "Bearer hunter2"
    with pytest.raises(ValidationError) as caught:
        McpConnector.configure({"command": "x", "env": {"K": ["hunter2"]}, "url2": "hunter2"}, {})
    assert "hunter2" not in str(caught.value)


def test_a_field_is_documented() -> None:
    for model in (StdioServer, HttpServer):
        assert len(model.model_fields) <= 10
        assert all(field.description for field in model.model_fields.values())


async def test_our_own_connector_keeps_the_contract_over_stdio() -> None:
    await check_connector(McpConnector, stdio("modern", env={"TOKEN": "s3cret"}), sample=asked("echo", {"n": 1}))


async def test_our_own_connector_keeps_the_contract_over_http() -> None:
    async with FaultServer("legacy") as server:
        section = {"url": server.url, "headers": {"Authorization": "Bearer s3cret"}}
        await check_connector(McpConnector, section, sample=asked("echo", {"n": 1}))


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that vouches for itself, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / "cert.pem", folder / "key.pem"
    pem.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)
    return pem, context


async def test_a_server_is_reached_over_tls_only_if_its_certificate_is_trusted(tmp_path: Path) -> None:
    pem, context = certificate(tmp_path)
    async with FaultServer(tls=context) as server:
        trusting = build({"url": server.url, "ca_file": str(pem)})
        await trusting.open()
        assert (await trusting.call(asked("echo", {"n": 1})))["content"]
        await trusting.close()
        doubting = build({"url": server.url})
        with pytest.raises(ConnectorFault, match="not trusted") as caught:
            await doubting.open()
        await doubting.close()
        assert (caught.value.code, caught.value.sent) == ("unavailable", False)
        plain = build({"url": server.url.replace("https", "http")})
        with pytest.raises(ConnectorFault):
            await plain.open()
        await plain.close()


async def test_nothing_is_sent_over_https_to_a_server_without_tls() -> None:
    async with FaultServer() as server:
        upstream = build({"url": server.url.replace("http:", "https:"), "egress": {"connect_timeout_s": 0.1}})
        with pytest.raises(ConnectorFault) as caught:
            await upstream.open()
        await upstream.close()
        assert (caught.value.retryable, caught.value.sent) == (True, False)


def test_an_entry_is_an_mcp_server_unless_it_names_a_connector() -> None:
    registry = load_connectors()
    assert type(build_upstream("a", {"command": "x"}, registry)) is type(
        build_upstream("b", {"connector": "mcp", "url": "http://x"}, registry)
    )
