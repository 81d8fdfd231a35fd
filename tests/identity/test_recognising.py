"""Whether a person is the user that an agent acts for: by proof, and never where a name is ambiguous."""

from typing import Any

import pytest

from gateway.identity.config import LoginSection
from gateway.identity.key_source import KeyRing
from gateway.identity.people import PeopleDoor
from gateway.identity.recognising import Known, Recognising
from gateway.identity.token_index import TokenIndex
from gateway.identity.tokens import Tokens
from gateway.model.errors import IdentityFault
from gateway.store.memory import MemoryStore
from tests.identity.doubles import CountingIds, HandClock, Signer, agents
from tests.identity.issuer import Issuer

OTHER = "https://other.example"


class Door:
    """Recognises people by what is configured, which a test may change."""

    def __init__(self, clock: HandClock, issuer: Issuer, store: MemoryStore) -> None:
        self.clock = clock
        self.url = issuer.url
        self.jwt = {"issuer": issuer.url, "audience": "gate", "subject": "jay", "jwks_url": issuer.jwks_url}
        self.agents = agents(jay={"auth": {"jwt": self.jwt}}, bot={})
        self.logins = [LoginSection(issuer=url, client_id="pages") for url in (issuer.url, OTHER)]
        self.index = TokenIndex(store, clock)
        self.tokens = Tokens(store, clock, CountingIds())
        people = {"ann": ("ann", "anna"), "bob": ("bob",)}
        known = lambda: Known([*self.agents.values()], self.logins, people, 30)  # noqa: E731
        self.opens = Recognising(known, PeopleDoor(self.index, clock), KeyRing(clock), clock)


@pytest.fixture
def door(clock: HandClock, issuer: Issuer, signer: Signer, store: MemoryStore) -> Door:
    issuer.serve_keys(signer.jwk)
    return Door(clock, issuer, store)


def claims(door: Door, **changes: Any) -> dict[str, Any]:
    usual = {"iss": door.url, "aud": "pages", "sub": "ann", "nonce": "n1", "exp": door.clock.now_ms() // 1000 + 60}
    return usual | changes


@pytest.mark.parametrize("agent_is", [{}, {"subject": "", "client": "pages"}], ids=["a subject", "a client"])
async def test_an_id_token_of_the_users_own_issuer_shows_who_they_are(
    door: Door, signer: Signer, agent_is: dict[str, str]
) -> None:
    door.agents = agents(jay={"auth": {"jwt": {**door.jwt, **agent_is}}}, bot={})
    token = signer.token(claims(door, aud=["pages"], azp="pages"))
    await door.opens.by_login(token, ("ann", door.url), "n1")
    for user in (("bob", door.url), ("ann", OTHER)):
        with pytest.raises(IdentityFault):
            await door.opens.by_login(token, user, "n1")


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "n2"},
        {"nonce": None},
        {"aud": "gate"},
        {"azp": "gate"},
        {"exp": 1},
        {"iss": OTHER},
        {"sub": "x", "act": {"sub": "ann"}},
        {"act": {"sub": "jay"}},
    ],
    ids=str,
)
async def test_a_token_for_anything_else_shows_nothing(door: Door, signer: Signer, changes: dict[str, Any]) -> None:
    with pytest.raises(IdentityFault):
        await door.opens.by_login(signer.token(claims(door, **changes)), ("ann", door.url), "n1")


async def test_a_token_that_the_issuer_did_not_sign_shows_nothing(door: Door) -> None:
    with pytest.raises(IdentityFault):
        await door.opens.by_login(Signer().token(claims(door)), ("ann", door.url), "n1")


async def test_users_log_in_where_an_agents_jwts_are_from_as_long_as_that_is_configured(
    door: Door, signer: Signer
) -> None:
    found = door.opens.login(door.url)
    assert found is not None
    assert (found.client_id, door.opens.login(OTHER), door.opens.login("https://x.example")) == ("pages", None, None)
    door.logins = []
    with pytest.raises(IdentityFault):
        await door.opens.by_login(signer.token(claims(door)), ("ann", door.url), "n1")


async def test_a_login_holds_as_long_as_its_id_token_and_a_minute_at_least(
    door: Door, signer: Signer, clock: HandClock
) -> None:
    for lives_s, holds_s in ((3600, 3600), (60, 60), (1, 60), (-20, 60)):
        token = signer.token(claims(door, exp=clock.now_ms() // 1000 + lives_s))
        person, still = await door.opens.person_of_login(token, door.url, "n1")
        clock.jump(holds_s - 1)
        assert (person, await still()) == ("ann", "ann")
        clock.jump(1)
        with pytest.raises(IdentityFault):
            await still()


async def test_a_persons_token_shows_that_they_are_the_user_of_their_name_or_alias_and_no_other(door: Door) -> None:
    token = (await door.tokens.issue("person:ann")).token
    await door.index.refresh()
    for name in ("ann", "anna"):
        assert await door.opens.by_token(token, (name, door.url)) == "ann"
    for user in (("bob", door.url), ("carl", door.url), ("ann", OTHER), ("ann", "")):
        with pytest.raises(IdentityFault):
            await door.opens.by_token(token, user)


async def test_where_agents_have_several_issuers_a_name_says_nothing(door: Door) -> None:
    assert door.opens.is_person(("anna", door.url))
    other = {**door.jwt, "issuer": OTHER, "jwks_url": f"{OTHER}/keys"}
    door.agents |= agents(kay={"auth": {"jwt": other}})
    token = (await door.tokens.issue("person:ann")).token
    await door.index.refresh()
    for issuer in (door.url, OTHER):
        assert not door.opens.is_person(("ann", issuer))
        with pytest.raises(IdentityFault):
            await door.opens.by_token(token, ("ann", issuer))
