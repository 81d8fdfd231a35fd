"""Child identities: what was handed on, and what ends it."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gateway.identity.authenticator import Authenticator, Trust
from gateway.identity.children import Children
from gateway.identity.config import DelegationSection
from gateway.identity.delegations import Bounds, Delegations, Handed, Wanted
from gateway.identity.key_source import KeyRing
from gateway.identity.local import local_bearer
from gateway.identity.picture import MAX_AGE_S
from gateway.identity.token_index import TokenIndex
from gateway.identity.tokens import Tokens
from gateway.model.errors import IdentityFault, RequestFault, StoreFault
from gateway.model.identity import Identity, principal_of
from gateway.store.delegations import Delegation, DelegationChange
from gateway.store.memory import MemoryStore
from tests.identity.doubles import CountingIds, HandClock, agents, bearer

KEY = b"k" * 64
DAY_S = 24 * 3600
TWO: dict[str, Any] = {"payer": {"teams": ["finance"], "auth": {"token": True, "local": True}}, "other": {}}
ISSUED: dict[str, Any] = {"issuer": "https://id.example", "audience": "gw", "subject": "payer"}


class House:
    """One process: an authenticator and what makes children, on a store that others may share."""

    def __init__(self, store: MemoryStore | None = None, clock: HandClock | None = None, **section: Any) -> None:
        self.clock = clock or HandClock()
        self.store = store or MemoryStore(self.clock)
        self.ids = CountingIds()
        self.tokens = Tokens(self.store, self.clock, self.ids)
        self.index = TokenIndex(self.store, self.clock)
        self.children = Children(self.store, self.index, self.clock)
        self.section = DelegationSection(**section)
        self.agents = agents(**TWO)
        self.delegations = Delegations(self.store, self.children, self.bounds, self.clock, self.ids)
        trust = Trust(self.index, KeyRing(self.clock), KEY, children=self.children)
        self.door = Authenticator(self.agents, trust, self.clock)

    def bounds(self) -> Bounds:
        return Bounds(self.section, self.agents)

    async def refresh(self) -> None:
        await self.index.refresh()
        await self.children.refresh()

    async def later(self, seconds: float) -> None:
        self.clock.jump(seconds)
        await self.refresh()

    async def payer(self, **options: int) -> Identity:
        issued = await self.tokens.issue("payer", **options)
        await self.refresh()
        return await self.known(issued.token)

    async def known(self, value: str) -> Identity:
        return await self.door.identify(bearer(value), loopback=True)

    async def hand(self, parent: Identity, *scopes: str, ttl_s: int = 3600) -> Handed:
        wanted = Wanted("reader", scopes or ("fraud.*",), ttl_s * 1000, "run_1")
        return await self.delegations.hand_on(parent, wanted)

    async def why(self, value: str) -> str:
        with pytest.raises(IdentityFault) as refusal:
            await self.known(value)
        return f"{refusal.value.code}: {refusal.value.detail}"

    async def refusal_to(self, parent: Identity, agent: str) -> str:
        with pytest.raises(RequestFault) as refusal:
            await self.delegations.hand_on(parent, Wanted("", ("fraud.*",), 1000, "run_1", agent))
        return refusal.value.message

    async def refusal(self, parent: Identity, *scopes: str) -> str:
        with pytest.raises(RequestFault) as refusal:
            await self.hand(parent, *scopes)
        assert refusal.value.code == "delegation_refused"
        return refusal.value.message


class Unreadable(MemoryStore):
    """A store that takes what is written, and cannot be read until it heals."""

    heals = False

    async def delegation_changes(self, after_seq: int, limit: int) -> list[DelegationChange]:
        if not self.heals:
            raise StoreFault("no")
        return await super().delegation_changes(after_seq, limit)


@pytest.fixture
def house() -> House:
    return House()


async def test_a_child_is_its_agent_with_the_part_that_was_handed_on(house: House) -> None:
    payer = replace(await house.payer(), on_behalf_of="ann", scopes=("openid",), issuer="https://id.example")
    handed = await house.hand(payer)
    child = await house.known(handed.token)
    assert (child.agent, child.teams, child.on_behalf_of) == ("payer", ("finance",), "ann")
    assert (child.method, child.credential_id, child.scopes) == ("child", handed.made.id, ("openid",))
    assert child.child is not None
    assert (child.child.name, child.child.run, child.child.depth) == ("payer:reader", "run_1", 1)
    assert child.child.covers("fraud.check")
    assert child.child.covers("tools.search")
    assert not child.child.covers("payments.pay")
    assert principal_of(child) != principal_of(payer)  # a session of one is none of the other


async def test_a_recorded_child_counts_as_long_as_what_it_was_given(house: House) -> None:
    payer = await house.payer()
    handed = await house.hand(payer)
    recorded = await house.known(handed.token)
    assert house.door.in_force(recorded) == recorded
    await house.delegations.take_back(payer, handed.made.id, "")
    await house.refresh()
    with pytest.raises(IdentityFault) as refusal:
        house.door.in_force(recorded)
    assert refusal.value.code == "identity_revoked"


async def test_the_chain_is_told_from_the_child_up_to_whoever_acted_for_a_user(house: House) -> None:
    payer = replace(await house.payer(), delegation=("payer", "portal"))
    reader = await house.known((await house.hand(payer)).token)
    last = await house.known((await house.hand(reader)).token)
    assert last.delegation == ("payer:reader:reader", "payer:reader", "payer", "portal")


async def test_a_wrong_secret_is_refused_as_any_unknown_token_is(house: House) -> None:
    handed = await house.hand(await house.payer())
    assert await house.why(handed.made.id + "_" + "0" * 32) == "unauthenticated: no such token"
    assert (await house.why("tg_" + "9" * 32 + "_" + "0" * 32)).startswith("unauthenticated")


async def test_another_process_knows_a_child_as_soon_as_it_was_made_and_refuses_it_once_it_was_taken_back(
    house: House,
) -> None:
    payer = await house.payer()
    other = House(house.store, house.clock)
    await other.refresh()
    handed = await house.hand(payer)
    house.clock.jump(0.2)
    assert (await other.known(handed.token)).child is not None
    await house.delegations.take_back(payer, handed.made.id, "done")
    await other.children.refresh()
    assert (await other.why(handed.token)).endswith("was withdrawn")


async def test_however_many_there_are_they_are_read_part_by_part(house: House) -> None:
    payer = await house.payer()
    made = [(await house.hand(payer)).made.id for _ in range(5)]
    await house.delegations.take_back(payer, made[0], "")
    parts = Children(house.store, house.index, house.clock, page=2)
    await parts.refresh()
    assert [each.id for each in parts.living("payer")] == made[1:]


async def test_the_oldest_that_are_over_are_forgotten_and_none_that_lives(house: House) -> None:
    payer = await house.payer()
    children = Children(house.store, house.index, house.clock, room=3)
    kept = await house.hand(payer)
    over = [await house.hand(payer, ttl_s=1) for _ in range(6)]
    await house.delegations.take_back(payer, over[0].made.id, "")
    await children.refresh()  # none of them is over by the clock yet, but for the one that was taken back
    house.clock.jump(1)
    over += [await house.hand(payer, ttl_s=1) for _ in range(9)]
    await children.refresh()
    assert children.find(kept.made.id) == kept.made
    assert [each.id for each in children.living("payer")] == [kept.made.id, *(each.made.id for each in over[6:])]
    assert [children.find(each.made.id) for each in over[:3]] == [None, None, None]
    assert children.find(over[5].made.id) == over[5].made


async def test_many_at_once_are_no_more_than_may_live() -> None:
    house = House(most=3)
    payer = await house.payer()
    answers = await asyncio.gather(*(house.hand(payer) for _ in range(9)), return_exceptions=True)
    assert sum(isinstance(answer, Handed) for answer in answers) == 3
    assert len(house.children.living("payer")) == 3


async def test_a_child_is_made_even_where_it_cannot_be_read_back_at_once(house: House) -> None:
    payer = await house.payer()
    unreadable = Unreadable(house.clock)
    children = Children(unreadable, house.index, house.clock)
    made = await Delegations(unreadable, children, house.bounds, house.clock, house.ids).hand_on(
        payer, Wanted("reader", ("fraud.*",), 1000, "run_1")
    )
    assert children.find(made.made.id) is None
    unreadable.heals = True
    await children.refresh()
    assert children.find(made.made.id) == made.made


@pytest.mark.parametrize("ended", ["middle", "token", "rotated", "agent", "no tokens"])
async def test_whatever_ends_one_of_the_chain_ends_all_below_it(house: House, ended: str) -> None:
    payer = await house.payer()
    reader = await house.hand(payer)
    last = await house.hand(await house.known(reader.token))
    assert (await house.known(last.token)).child is not None
    if ended == "middle":
        await house.delegations.take_back(payer, reader.made.id, "")
    elif ended == "token":
        await house.tokens.revoke("payer")
    elif ended == "rotated":
        await house.tokens.rotate("payer", overlap_ms=60_000)
        await house.refresh()
        assert (await house.known(last.token)).child is not None  # until the overlap is over
        house.clock.jump(60)
    else:
        rest: dict[str, Any] = {"payer": {"auth": {"local": True}}} if ended == "no tokens" else {}
        house.door.replace(agents(**{"other": {}, **rest}))
    await house.refresh()
    assert (await house.why(last.token)).startswith("identity_revoked")
    assert (await house.why(reader.token)).startswith("identity_revoked")


async def test_a_child_lives_as_long_as_it_was_given_and_never_longer_than_whoever_made_it(house: House) -> None:
    payer = await house.payer(ttl_ms=100_000)
    short, long = await house.hand(payer, ttl_s=10), await house.hand(payer, ttl_s=DAY_S)
    below = await house.hand(await house.known(short.token), ttl_s=DAY_S)
    assert below.made.expires_ms == short.made.expires_ms
    await house.later(10)
    assert (await house.why(below.token)).startswith("identity_expired")
    await house.later(90)
    assert (await house.why(long.token)).startswith("identity_expired")


async def test_a_token_that_expires_sooner_than_its_child_takes_it_along(house: House) -> None:
    payer = await house.payer(ttl_ms=100_000)
    handed = await house.hand(replace(payer, expires_at_ms=None))
    assert (await house.known(handed.token)).expires_at_ms == payer.expires_at_ms
    await house.later(100)
    assert (await house.why(handed.token)) == (
        f"identity_expired: payer:reader ({handed.made.id}): the credential {payer.credential_id} of payer has expired"
    )


async def test_nothing_lives_longer_than_the_operator_says() -> None:
    house = House(longest="1h")
    here = await house.known(local_bearer(KEY, "payer"))
    handed = await house.hand(here, ttl_s=DAY_S)
    assert handed.made.expires_ms == house.clock.now_ms() + 3_600_000


async def test_children_of_the_local_key_and_of_a_jwt_end_with_the_way_in(house: House) -> None:
    local = await house.hand(await house.known(local_bearer(KEY, "payer")))
    signed = await house.hand(Identity("payer", "jwt", "jwt:1", issuer="https://id.example"))
    assert (await house.known(local.token)).child is not None
    assert (await house.why(signed.token)).endswith("is not accepted any more")
    house.door.replace(agents(payer={"auth": {"jwt": ISSUED}}))
    assert (await house.known(signed.token)).issuer == "https://id.example"
    assert (await house.why(local.token)).startswith("identity_revoked")


async def test_a_child_of_somebody_unknown_is_refused(house: House) -> None:
    payer = await house.payer()
    stray = replace((await house.hand(payer)).made, id="tg_stray", parent="tg_gone", depth=2)
    await house.store.put_delegation(stray)
    await house.children.refresh()
    with pytest.raises(IdentityFault) as refusal:
        house.children.identity(stray, house.agents)
    assert "tg_gone, which it stands under, is not known" in refusal.value.detail


async def test_children_are_refused_while_nobody_knows_what_was_taken_back(house: House) -> None:
    handed = await house.hand(await house.payer())
    await house.known(handed.token)
    house.clock.jump(MAX_AGE_S + 0.1)
    await house.index.refresh()
    with pytest.raises(StoreFault, match="delegations"):
        await house.known(handed.token)


async def test_no_more_is_handed_on_than_one_was_given(house: House) -> None:
    payer = await house.payer()
    reader = await house.known((await house.hand(payer, "fraud.*", "mail.inbox")).token)
    for wider in ("*", "f*", "fraud*", "mail.*", "payments.pay", "fraud.*x*y\u0000 z"):
        assert await house.refusal(reader, "fraud.check", wider)
    assert (await house.hand(reader, "fraud.*", "fraud.ch*", "mail.inbox")).made.depth == 2
    assert "no pattern" in await house.refusal(payer, "fraud.[a-z]")
    assert "no pattern" in await house.refusal(payer, "fraud.chec?")


async def test_depth_and_number_are_bounded() -> None:
    house = House(depth=1, most=2)
    payer = await house.payer()
    reader = await house.hand(payer)
    assert "you are 1 below" in await house.refusal(await house.known(reader.token))
    await house.hand(payer)
    assert "2 children already" in await house.refusal(payer)
    await house.delegations.take_back(payer, reader.made.id, "")
    await house.hand(payer)
    house.section = DelegationSection(depth=0)  # as the configuration says from now on
    assert "Here 0 may stand" in await house.refusal(payer)


async def test_only_whoever_stands_above_a_child_takes_it_back(house: House) -> None:
    payer = await house.payer()
    made: Delegation = (await house.hand(payer)).made
    beside = await house.known((await house.hand(payer)).token)
    others = (replace(payer, agent="other"), replace(payer, on_behalf_of="ann"), replace(payer, issuer="x"), beside)
    for caller in others:
        with pytest.raises(RequestFault, match="no such child"):
            await house.delegations.take_back(caller, made.id, "")
    with pytest.raises(RequestFault, match="no such child"):
        await house.delegations.take_back(payer, "tg_nobody", "")
    assert (await house.delegations.take_back(payer, made.id, "done")).id == made.id


async def test_a_registered_agent_works_in_the_run_for_the_user_of_whoever_handed_it_on_and_for_no_other(
    house: House,
) -> None:
    payer = replace(await house.payer(), on_behalf_of="ann")
    issued = await house.tokens.issue("other")
    await house.refresh()
    handed = await house.delegations.hand_on(payer, Wanted("", ("fraud.*",), 1000, "run_1", "other"))
    assert handed.token == ""
    assert await house.why(f"{handed.made.id}_" + "0" * 32) == "unauthenticated: no such token"
    other = await house.known(issued.token)
    there = house.door.in_run(other, "run_1")
    assert (there.agent, there.on_behalf_of, there.credential_id) == ("other", "ann", other.credential_id)
    assert there.delegation == ("payer:other", "payer")
    assert [(one.agent, one.on_behalf_of) for one in there.delegators] == [("payer", "ann")]
    assert house.door.in_run(other, "run_2") is other
    bob = replace(other, on_behalf_of="bob")
    assert house.door.in_run(bob, "run_1") is bob
    assert "through other already" in await house.refusal_to(there, "other")
    house.door.replace({name: agent for name, agent in house.agents.items() if name != "payer"})
    with pytest.raises(RequestFault) as refusal:
        house.door.in_run(other, "run_1")
    assert (refusal.value.code, "'payer' is not configured" in refusal.value.detail) == ("delegation_refused", True)
