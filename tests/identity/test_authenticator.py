"""Who gets in: registered agents with a credential that is right, and nobody else."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity.authenticator import MAX_CREDENTIAL, Authenticator, Trust
from gateway.identity.key_source import KeyRing
from gateway.identity.local import local_bearer
from gateway.identity.token_index import TokenIndex
from gateway.identity.tokens import Tokens
from gateway.model.errors import IdentityFault, RequestFault, StoreFault
from gateway.model.identity import Child, Credential, Identity
from gateway.store.memory import MemoryStore
from tests.identity.doubles import CountingIds, HandClock, agents, bearer

KEY = b"k" * 64


TWO = {
    "payer": {"owner": "finance@acme.example", "teams": ["finance"], "roles": ["payments"]},
    "bridge": {"auth": {"local": True}},
}


class House:
    """An authenticator, and what it stands on."""

    def __init__(self, config: Mapping[str, Mapping[str, Any]] = TWO) -> None:
        self.clock = HandClock()
        self.store = MemoryStore(self.clock)
        self.tokens = Tokens(self.store, self.clock, CountingIds())
        self.index = TokenIndex(self.store, self.clock)
        trust = Trust(self.index, KeyRing(self.clock), KEY)
        self.door = Authenticator(agents(**config), trust, self.clock)

    async def token_for(self, agent: str, **options: int) -> str:
        issued = await self.tokens.issue(agent, **options)
        await self.index.refresh()
        return issued.token

    async def refusal(self, value: str, *, loopback: bool = True) -> IdentityFault:
        with pytest.raises(IdentityFault) as refusal:
            await self.door.identify(bearer(value), loopback=loopback)
        return refusal.value


@pytest.fixture
def house() -> House:
    return House()


async def test_a_token_proves_its_agent_from_anywhere_and_in_every_session(house: House) -> None:
    token = await house.token_for("payer")
    first = await house.door.identify(bearer(token), loopback=False)
    assert (first.agent, first.method, first.owner) == ("payer", "token", "finance@acme.example")
    assert (first.teams, first.roles, first.on_behalf_of) == (("finance",), ("payments",), None)
    assert first.credential_id in token
    assert first.credential_id != token
    assert first.expires_at_ms == house.clock.now_ms() + 90 * 86_400_000
    assert await house.door.identify(bearer(token), loopback=True) == first
    assert house.door.identify_cached(bearer(token), loopback=True) == first


async def test_the_anonymous_are_refused_with_what_to_do(house: House) -> None:
    await house.index.refresh()
    for credential in (Credential("none", ""), bearer(""), Credential("basic", "x")):
        with pytest.raises(IdentityFault, match="toolgate token new <agent>") as refusal:
            await house.door.identify(credential, loopback=True)
        assert refusal.value.code == "unauthenticated"


@pytest.mark.parametrize(
    "garbage",
    [
        "tg_", "tg_1_2", "tg_" + "0" * 32 + "_" + "0" * 32, "tgl.", "tgl.bridge", "tgl.bridge.", "tgl..00", "x",
        "tgl.bridge." + "0" * 64, "a.b.c", "....", "eyJ", "\x00", "tg_\n", "пароль", "tg_ä_b",
        "x" * (MAX_CREDENTIAL + 1),
    ],
)  # fmt: skip
async def test_garbage_is_refused_and_all_refusals_read_the_same(house: House, garbage: str) -> None:
    await house.token_for("payer")
    refusal = await house.refusal(garbage)
    assert refusal.code == "unauthenticated"
    assert refusal.message == (await house.refusal("garbage")).message
    assert garbage not in refusal.message + refusal.detail or len(garbage) < 3


@given(st.text(max_size=200))
async def test_no_text_is_let_in_or_breaks_the_door(text: str) -> None:
    house = House()
    await house.token_for("payer")
    assert (await house.refusal(text)).code == "unauthenticated"


async def test_the_right_id_with_a_wrong_secret_is_refused_without_a_hint(house: House) -> None:
    token = await house.token_for("payer", ttl_ms=1000)
    wrong = token[:-1] + ("0" if token[-1] != "0" else "1")
    unknown = "tg_" + "f" * 32 + "_" + "f" * 32
    nobody = await house.refusal(unknown)
    for _ in range(2):
        refusal = await house.refusal(wrong)
        assert (refusal.code, refusal.message, refusal.detail) == (nobody.code, nobody.message, nobody.detail)
        house.clock.jump(1.0)  # expired by now: still not a word of that
        await house.index.refresh()


async def test_a_token_works_to_its_last_millisecond_and_then_says_that_it_expired(house: House) -> None:
    token = await house.token_for("payer", ttl_ms=1000)
    house.clock.jump(0.999)
    await house.door.identify(bearer(token), loopback=True)
    house.clock.jump(0.001)
    refusal = await house.refusal(token)
    assert refusal.code == "identity_expired"
    assert "toolgate token rotate" in refusal.message


async def test_a_revoked_token_says_so_and_the_other_agents_go_on(house: House) -> None:
    house.door.replace(agents(payer={}, reader={}))
    token, other = await house.token_for("payer"), await house.token_for("reader")
    await house.tokens.revoke("payer")
    await house.index.refresh()
    assert (await house.refusal(token)).code == "identity_revoked"
    assert (await house.door.identify(bearer(other), loopback=True)).agent == "reader"


async def test_an_agent_that_is_not_configured_is_refused_with_a_valid_token(house: House) -> None:
    token = await house.token_for("stranger")
    refusal = await house.refusal(token)
    assert refusal.code == "unauthenticated"
    assert "stranger" in refusal.detail
    assert "stranger" not in refusal.message


async def test_an_agent_whose_tokens_are_switched_off_is_refused_with_a_valid_token(house: House) -> None:
    token = await house.token_for("bridge")
    assert (await house.refusal(token)).code == "unauthenticated"


async def test_a_reload_takes_an_agent_out_and_brings_one_in_at_once(house: House) -> None:
    token = await house.token_for("payer")
    house.door.replace(agents(reader={}))
    assert (await house.refusal(token)).code == "unauthenticated"
    house.door.replace(agents(payer={"owner": "new"}))
    assert (await house.door.identify(bearer(token), loopback=True)).owner == "new"


async def test_the_local_key_proves_an_agent_on_this_machine_only(house: House) -> None:
    value = local_bearer(KEY, "bridge")
    identity = await house.door.identify(bearer(value), loopback=True)
    assert (identity.agent, identity.method, identity.credential_id) == ("bridge", "local", "local:bridge")
    assert identity.expires_at_ms is None
    assert (await house.refusal(value, loopback=False)).code == "unauthenticated"


async def test_the_local_key_proves_nobody_who_is_not_marked_local(house: House) -> None:
    for agent in ("payer", "stranger"):
        assert (await house.refusal(local_bearer(KEY, agent))).code == "unauthenticated"
    assert (await house.refusal(local_bearer(b"another key" * 8, "bridge"))).code == "unauthenticated"


async def test_without_a_local_key_no_local_credential_works() -> None:
    clock = HandClock()
    trust = Trust(TokenIndex(MemoryStore(clock), clock), KeyRing(clock))
    door = Authenticator(agents(**TWO), trust, clock)
    for key in (b"", KEY):
        with pytest.raises(IdentityFault):
            await door.identify(bearer(local_bearer(key, "bridge")), loopback=True)


def test_the_local_key_does_not_show_when_printed() -> None:
    clock = HandClock()
    assert "kkk" not in repr(Trust(TokenIndex(MemoryStore(clock), clock), KeyRing(clock), KEY))


async def verified(house: House, **options: int) -> str:
    """Return a token that has proved its agent already."""
    token = await house.token_for("payer", **options)
    await house.door.identify(bearer(token), loopback=False)
    return token


async def test_a_token_that_was_verified_before_is_refused_once_it_is_revoked(house: House) -> None:
    token = await verified(house)
    await house.tokens.revoke("payer")
    await house.index.refresh()
    assert (await house.refusal(token)).code == "identity_revoked"


async def test_a_token_that_was_verified_before_ends_with_its_overlap_and_with_its_time(house: House) -> None:
    token = await verified(house)
    await house.tokens.rotate("payer", overlap_ms=1000)
    await house.index.refresh()
    await house.door.identify(bearer(token), loopback=False)
    await house.clock.advance(1.0)
    await house.index.refresh()
    assert (await house.refusal(token)).code == "identity_revoked"
    short = House()
    brief = await verified(short, ttl_ms=1000)
    await short.clock.advance(1.0)
    assert (await short.refusal(brief)).code == "identity_expired"


async def test_a_token_that_was_verified_before_is_not_believed_when_tokens_cannot_be_read(house: House) -> None:
    token = await verified(house)
    await house.clock.advance(3600.0)
    with pytest.raises(StoreFault):
        await house.door.identify(bearer(token), loopback=False)


async def test_a_token_that_was_verified_before_is_nothing_as_another_kind_of_credential(house: House) -> None:
    token = await verified(house)
    with pytest.raises(IdentityFault):
        await house.door.identify(Credential("basic", token), loopback=False)


async def test_many_tokens_are_verified_and_none_is_kept_for_ever(house: House) -> None:
    token = await verified(house)
    house.door._roster.verified.update({str(number): house.door._roster.verified[token] for number in range(1024)})
    house.door._roster.verified.pop(token)
    await house.door.identify(bearer(token), loopback=False)
    assert list(house.door._roster.verified) == [token]


async def test_a_recorded_caller_counts_as_long_as_the_token_it_came_with(house: House) -> None:
    known = await house.door.identify(bearer(await house.token_for("payer", ttl_ms=1000)), loopback=False)
    recorded = replace(known, on_behalf_of="ann", owner="somebody@acme.example")
    found = house.door.in_force(recorded)
    assert (found.agent, found.on_behalf_of, found.owner) == ("payer", "ann", "finance@acme.example")
    house.clock.jump(1)
    await house.index.refresh()
    with pytest.raises(IdentityFault) as refusal:
        house.door.in_force(recorded)
    assert refusal.value.code == "identity_expired"


async def test_a_recorded_caller_whose_token_was_revoked_counts_no_more(house: House) -> None:
    known = await house.door.identify(bearer(await house.token_for("payer")), loopback=False)
    await house.tokens.revoke("payer")
    await house.index.refresh()
    with pytest.raises(IdentityFault) as refusal:
        house.door.in_force(known)
    assert refusal.value.code == "identity_revoked"


async def test_a_recorded_caller_on_this_machine_counts_as_long_as_it_is_configured_so(house: House) -> None:
    known = await house.door.identify(bearer(local_bearer(KEY, "bridge")), loopback=True)
    assert house.door.in_force(known).agent == "bridge"
    house.door.replace(agents(bridge={}))
    with pytest.raises(IdentityFault):
        house.door.in_force(known)


@pytest.mark.parametrize("method", ["jwt", "child", "recovery"])
def test_a_recorded_caller_whose_credential_alone_proves_it_has_to_present_it_anew(house: House, method: str) -> None:
    with pytest.raises(IdentityFault) as refusal:
        house.door.in_force(Identity("payer", method, "https://id.example#4711"))
    assert "has to be presented anew" in refusal.value.detail


async def test_who_did_what_was_handed_on_to_it_does_nothing_of_it_where_nothing_is_any_more(house: House) -> None:
    known = await house.door.identify(bearer(await house.token_for("payer")), loopback=True)
    handed = replace(known, on_behalf_of="alice", child=Child("chd_1", "lead:payer", "run_1", ("*",), 1))
    with pytest.raises(RequestFault) as refused:
        house.door.in_force(handed)
    assert refused.value.code == "delegation_refused"
    assert (handed.itself, known.itself) == (known, known)
