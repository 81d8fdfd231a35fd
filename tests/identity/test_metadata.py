"""What OAuth clients are told."""

import pytest

from gateway.identity.config import IdentityConfig
from gateway.identity.metadata import challenge, metadata_path, metadata_url, resource_metadata
from gateway.identity.refusal import expired, refused
from tests.identity.doubles import agents
from tests.identity.test_config import JWT

RESOURCE = "https://gate.acme.example/mcp"


def test_metadata_names_the_resource_and_the_agents_issuers() -> None:
    settings = IdentityConfig(resource=RESOURCE, scopes=["tools"])
    assert resource_metadata(settings, agents(payer={"auth": {"jwt": JWT}}, reader={})) == {
        "resource": RESOURCE,
        "authorization_servers": ["https://idp.acme.example"],
        "bearer_methods_supported": ["header"],
        "resource_name": "toolgate",
        "scopes_supported": ["tools"],
    }


def test_configured_authorization_servers_win() -> None:
    settings = IdentityConfig(resource=RESOURCE, authorization_servers=["https://login.acme.example"])
    document = resource_metadata(settings, agents(payer={"auth": {"jwt": JWT}}))
    assert document is not None
    assert document["authorization_servers"] == ["https://login.acme.example"]
    assert "scopes_supported" not in document


def test_without_oauth_there_is_no_metadata() -> None:
    assert resource_metadata(IdentityConfig(resource=RESOURCE), agents(payer={})) is None
    assert resource_metadata(IdentityConfig(), agents(payer={"auth": {"jwt": JWT}})) is None


@pytest.mark.parametrize(
    ("resource", "path"),
    [
        ("https://x.example", "/.well-known/oauth-protected-resource"),
        ("https://x.example/", "/.well-known/oauth-protected-resource"),
        (RESOURCE, "/.well-known/oauth-protected-resource/mcp"),
    ],
)
def test_metadata_stands_between_host_and_path(resource: str, path: str) -> None:
    assert metadata_path(resource) == path
    assert metadata_url(resource).endswith(f".example{path}")


def test_the_challenge_tells_a_caller_without_credential_only_where_to_go() -> None:
    assert challenge(refused("x"), presented=False) == 'Bearer realm="toolgate"'
    told = challenge(refused("x"), presented=False, resource=RESOURCE)
    assert told.endswith('resource_metadata="https://gate.acme.example/.well-known/oauth-protected-resource/mcp"')


def test_the_challenge_names_the_error_of_a_credential_and_never_the_detail() -> None:
    told = challenge(expired('x"\r\nX-Evil: 1'), presented=True)
    assert told == 'Bearer realm="toolgate", error="invalid_token", error_description="identity_expired"'


def test_a_header_cannot_be_broken_out_of() -> None:
    told = challenge(refused("x"), presented=False, resource='https://x.example/"\r\nEvil: 1\\')
    assert "\r" not in told
    assert "\n" not in told
    assert told.count('"') == 4
