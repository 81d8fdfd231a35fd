"""The agents section: names that cannot be confused, proofs that cannot be shared."""

from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from gateway.identity.config import AgentConfig, Agents, AuthConfig, IdentityConfig, JwtAuth

JWT = {"issuer": "https://idp.acme.example", "audience": "toolgate", "subject": "agent:payer"}


def load(section: Any) -> dict[str, AgentConfig]:
    return TypeAdapter(Agents).validate_python(section)


def problem(section: Any) -> str:
    with pytest.raises(ValidationError) as error:
        load(section)
    return str(error.value)


def test_the_sketch_in_the_guide_is_read() -> None:
    loaded = load(
        {"payer": {"owner": "finance@acme.example", "auth": {"jwt": JWT}, "allow": ["fraud.*", "payments.*"]}}
    )
    assert loaded["payer"].auth.jwt is not None
    assert loaded["payer"].allow == ["fraud.*", "payments.*"]
    assert loaded["payer"].tier == 0


def test_an_api_token_is_the_way_in_unless_another_is_given() -> None:
    for auth, accepted in [
        ({}, True),
        ({"jwt": JWT}, False),
        ({"local": True}, False),
        ({"local": True, "token": True}, True),
        ({"jwt": JWT, "token": True}, True),
    ]:
        assert load({"a": {"auth": auth}})["a"].auth.accepts_token is accepted


def test_an_agent_without_any_way_in_is_refused() -> None:
    assert "no way to prove" in problem({"a": {"auth": {"token": False}}})


@pytest.mark.parametrize(
    "name", ["", "Payer", "a/b", "a b", "-a", "unknown", "a" * 65, "a\n", "páyer", "раyer", "a:b", "a\x00"]
)
def test_a_name_that_could_be_mistaken_is_refused(name: str) -> None:
    assert problem({name: {}})


@pytest.mark.parametrize("name", ["a", "claude-desktop", "acme.payer_2", "9"])
def test_a_plain_name_is_accepted(name: str) -> None:
    assert list(load({name: {}})) == [name]


def test_one_subject_for_two_agents_is_refused_and_both_are_named() -> None:
    said = problem({"payer": {"auth": {"jwt": JWT}}, "reader": {"auth": {"jwt": JWT}}})
    assert "'payer' and 'reader' share the subject" in said


def test_two_agents_cannot_be_one_client() -> None:
    jwt = {**{key: value for key, value in JWT.items() if key != "subject"}, "client": "desk"}
    assert "'a' and 'b' share the client 'desk'" in problem({"a": {"auth": {"jwt": jwt}}, "b": {"auth": {"jwt": jwt}}})
    assert load({"a": {"auth": {"jwt": jwt}}, "b": {"auth": {"jwt": {**JWT, "subject": "desk"}}}})


def test_two_agents_cannot_trust_one_issuer_by_different_keys() -> None:
    other = {**JWT, "subject": "agent:reader", "jwks_url": "https://keys.example/jwks"}
    assert "different keys" in problem({"payer": {"auth": {"jwt": JWT}}, "reader": {"auth": {"jwt": other}}})


def test_agents_of_one_issuer_live_side_by_side() -> None:
    assert (
        len(load({"payer": {"auth": {"jwt": JWT}}, "reader": {"auth": {"jwt": {**JWT, "subject": "r"}}}, "t": {}})) == 3
    )


@pytest.mark.parametrize(
    "jwt",
    [
        {**JWT, "algorithms": ["none"]}, {**JWT, "algorithms": ["HS256"]}, {**JWT, "algorithms": []},
        {**JWT, "issuer": ""}, {**JWT, "audience": ""}, {**JWT, "subject": ""}, {**JWT, "extra": 1},
        {**JWT, "jwks_url": "http://idp.acme.example/jwks"}, {**JWT, "jwks_url": "file:///etc/passwd"},
        {**JWT, "jwks_url": "https://u:p@idp.example/"}, {**JWT, "jwks_url": "https:///x"},
        {**JWT, "jwks_url": "https://x.example/", "jwks_file": "keys.json"}, {**JWT, "issuer": "http://idp.example"},
        {**JWT, "jwks_url": "http://127.0.0.1.evil.example/"}, {**JWT, "jwks_url": "https://x.example/#f"},
    ],
)  # fmt: skip
def test_unsafe_trust_is_refused(jwt: Any) -> None:
    assert problem({"a": {"auth": {"jwt": jwt}}})


def test_an_issuer_that_is_no_url_needs_its_keys_named() -> None:
    assert problem({"a": {"auth": {"jwt": {**JWT, "issuer": "acme"}}}})
    assert load({"a": {"auth": {"jwt": {**JWT, "issuer": "acme", "jwks_file": "keys.json"}}}})


@pytest.mark.parametrize(
    "jwt",
    [
        {"issuer": "spiffe://acme.example", "jwks_file": None},
        {"issuer": "spiffe://acme.example", "subject": "spiffe://acme.example"},
        {"issuer": "spiffe://acme.example", "subject": "spiffe://evil.example/agent/payer"},
        {"issuer": "spiffe://acme.example", "subject": "spiffe://acme.example.evil/agent/payer"},
        {"subject": "", "client": "payer"}, {"client": "payer"}, {"subject": ""},
        {"issuer": "spiffe://acme.example/"}, {"issuer": "spiffe://"}, {"issuer": "spiffe://ACME.example"},
    ],
)  # fmt: skip
def test_a_trust_domain_proves_only_its_own_and_by_keys_that_are_named(jwt: Any) -> None:
    good = {"issuer": "spiffe://acme.example", "subject": "spiffe://acme.example/payer", "jwks_file": "bundle.json"}
    assert load({"a": {"auth": {"jwt": {"audience": "toolgate", **good}}}})
    assert problem({"a": {"auth": {"jwt": {"audience": "toolgate", **good, **jwt}}}})


@pytest.mark.parametrize("skew", [-1, 61])
def test_the_clock_skew_is_bounded(skew: int) -> None:
    with pytest.raises(ValidationError):
        IdentityConfig(clock_skew=skew)


@pytest.mark.parametrize("section", [JwtAuth, AuthConfig, AgentConfig, IdentityConfig])
def test_every_setting_is_explained_and_a_section_stays_small(section: type[BaseModel]) -> None:
    assert all(field.description for field in section.model_fields.values())
    assert len(section.model_fields) <= 10
