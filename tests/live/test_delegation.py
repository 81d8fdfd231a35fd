"""An agent hands a part of what it may do on to a child: through the real gateway, over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from mcp.client import Client

from examples.payments.agent import over_http
from gateway.identity.tokens import Tokens
from gateway.ledger.passports import read_passport
from gateway.ledger.signing import NotSigned
from gateway.ledger.trace import run_lines
from gateway.model.clock import RandomIds
from gateway.model.errors import IdentityFault
from gateway.model.identity import Credential, Identity
from gateway.pipeline.desk import described
from gateway.store.ports import EventFilter, PauseRecord
from tests.live.inside import Inside, call, code, inside
from tests.live.running import PAYMENTS

LEAD = """\
  lead: { allow: ["fraud.*", "run.*"] }
  boss: { allow: ["fraud.*", "run.*"] }
  editor: { allow: [{ call: mail.send, fields: [recipient, body] }] }
  gone: { allow: ["fraud.*"] }
  frugal: { allow: ["payments.history", "run.*"], budget: { calls: 1/day } }
  researcher: { allow: ["fraud.*", "payments.*", "run.*"] }
  thrifty: { allow: ["payments.history", "run.*"], budget: { calls: 3/day } }
"""
CONFIG = PAYMENTS.replace('"mail.*"]\n', '"mail.*", "run.*"]\n', 1).replace("  clerk:\n", f"{LEAD}  clerk:\n", 1)
pytestmark = pytest.mark.asyncio(loop_scope="module")
CHECK = {"payment_id": "x", "payee": "A", "amount": 1.0}
POLICY = """
@id("children.mail") @obligation("approval:tool-owners") @message("Mail of a helper is read first.")
forbid (principal, action == Gateway::Action::"mail.send", resource) when { context.base has delegation }
unless { context.base has approval && context.base.approval.argsMatch };

@id("children.owners")
permit (principal in Gateway::Role::"tool-owners", action == Gateway::Action::"approve", resource)
when { context.base has delegation &&
  (context.base.delegation.name == "payer:reader" || context.base.delegation.name == "payer:researcher") };

@id("payer.never") @message("payer checks no MALLORY.")
forbid (principal == Gateway::Agent::"payer", action == Gateway::Action::"fraud.check", resource)
when { context.input has payee && context.input.payee == "MALLORY" };

@id("payer.asks") @obligation("approval:tool-owners")
forbid (principal == Gateway::Agent::"payer", action == Gateway::Action::"fraud.check", resource)
when { context.input has payee && context.input.payee == "EVE" }
unless { context.base has approval && context.base.approval.argsMatch };
"""
PEOPLE = """\
identity: { trust_domain: acme.example }
people: { bob@acme.example: { roles: [tool-owners] } }
approvals: { wait_s: 0 }
"""
SPIFFE = "spiffe://acme.example/agent/payer"
PAYMENT = {"payment_id": "p_1", "payee": "ACME", "amount": 25.0, "reference": "r"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inside]:
    home = tmp_path_factory.mktemp("gate")
    (home / "policies").mkdir()
    (home / "policies" / "children.cedar").write_text(POLICY, encoding="utf-8")
    async with inside(home, CONFIG + PEOPLE) as running:
        yield running


async def handed(client: Client, *scopes: str, **more: Any) -> dict[str, Any]:
    """Have a client make a child; return what it is told."""
    result = await call(client, "run_delegate", {"name": "reader", "scopes": list(scopes), **more})
    assert code(result) == "ok", result
    found: dict[str, Any] = result.structured_content
    return found


@asynccontextmanager
async def child(gate: Inside, told: dict[str, Any], mode: str = "auto") -> AsyncIterator[Client]:
    async with over_http(gate.url, told["token"], mode=mode) as client:
        yield client


async def known(gate: Inside, token: str) -> Identity:
    return await gate.gateway.authenticator.identify(Credential("bearer", token), loopback=True)


async def refused(gate: Inside, token: str) -> str:
    """Return why a token is refused."""
    with pytest.raises(IdentityFault) as refusal:
        await known(gate, token)
    return f"{refusal.value.code}: {refusal.value.detail}"


async def is_refused(gate: Inside, token: str) -> bool:
    try:
        await known(gate, token)
    except IdentityFault:
        return True
    return False


async def refusal(client: Client, *scopes: str) -> str:
    """Return how a client is refused a child with these scopes."""
    return code(await call(client, "run_delegate", {"name": "reader", "scopes": list(scopes)}))


async def test_a_child_is_listed_and_may_use_what_it_was_given_and_nothing_else(gate: Inside) -> None:
    async with gate.client("modern") as payer:
        told = await handed(payer, "fraud_check", "mail.*")
        assert told["scopes"] == ["fraud.check", "mail.*"]
        async with child(gate, told) as reader:
            names = [tool.name for tool in (await reader.list_tools()).tools]
            assert names == ["approvals_wait", "fraud_check", "mail_inbox", "mail_send"]
            assert code(await call(reader, "fraud_check", CHECK)) == "ok"
            denied = await call(reader, "payments_pay", PAYMENT)
            assert code(denied) == "denied"
            assert "payer:reader was given fraud.check, mail.*" in str(denied.content)
            assert code(await call(reader, "run_delegate", {"name": "x", "scopes": ["fraud.*"]})) == "denied"
            through = {"name": "payments.history", "arguments": {}}  # which the agent itself may call
            assert code(await call(reader, "tools_call", through)) == "denied"
            assert code(await call(reader, "tools_call", {"name": "mail.inbox", "arguments": {}})) == "ok"


async def test_nobody_hands_on_what_it_may_not_use_itself(gate: Inside) -> None:
    async with gate.client("modern") as payer:
        assert await refusal(payer, "payments.transfer") == "delegation_refused"  # the agent itself may not
        assert await refusal(payer, "fraud.*", "payments_transfer") == "delegation_refused"
        assert await refusal(payer, "payments.p?y") == "delegation_refused"
        told = await handed(payer, "fraud.*", "run.delegate")
        async with child(gate, told) as reader:
            assert await refusal(reader, "mail.inbox") == "delegation_refused"  # the agent may, this child may not
            assert await refusal(reader, "*") == "delegation_refused"
            assert await refusal(reader, "f*") == "delegation_refused"
            below = await handed(reader, "fraud.c*", "run.delegate")
            async with child(gate, below) as last:
                names = [tool.name for tool in (await last.list_tools()).tools]
                assert names == ["approvals_wait", "fraud_check", "run_delegate"]
                refused_deeper = await call(last, "run_delegate", {"name": "x", "scopes": ["fraud.check"]})
                assert code(refused_deeper) == "delegation_refused"
                assert "Here 2 may stand below an agent" in str(refused_deeper.content)


async def test_a_pattern_hands_on_only_what_policies_let_the_agent_do(gate: Inside) -> None:
    async with gate.client("modern") as payer, child(gate, await handed(payer, "payments.*")) as reader:
        names = [tool.name for tool in (await reader.list_tools()).tools]
        assert names == ["approvals_wait", "payments_history", "payments_pay"]
        assert code(await call(reader, "payments_transfer", {"account": "X", "amount": 1.0})) == "denied"
        unchecked = await call(reader, "payments_pay", PAYMENT)
        assert code(unchecked) == "denied"
        assert "fraud" in str(unchecked.content)


async def test_a_child_works_in_the_run_it_was_made_in_and_in_no_other(gate: Inside) -> None:
    async with gate.client("modern") as payer:
        run = (await call(payer, "run_start", {})).structured_content["run"]  # type: ignore[index]
        other = (await call(payer, "run_start", {})).structured_content["run"]  # type: ignore[index]
        asked = {"name": "reader", "scopes": ["payments.history", "run.*"]}
        told = (await call(payer, "run_delegate", asked, run=run)).structured_content
        assert told is not None
        assert told["run"] == run
        async with child(gate, told) as reader:
            assert code(await call(reader, "payments_history", {})) == "ok"
            assert code(await call(reader, "payments_history", {}, run=run)) == "ok"
            assert code(await call(reader, "payments_history", {}, run=other)) == "invalid_arguments"
            assert code(await call(reader, "payments_history", {}, run="work")) == "invalid_arguments"
            assert code(await call(reader, "run_start", {})) == "invalid_arguments"
            assert code(await call(reader, "run_resume", {"run": run})) == "invalid_arguments"
            assert code(await call(reader, "run_history", {"scope": "agent"})) == "invalid_arguments"
            history = await call(reader, "run_history", {"tool": "payments.history"})
        assert len(history.structured_content["calls"]) == 2  # type: ignore[index]


async def test_what_a_child_did_counts_as_done_in_the_workflow_of_its_agent(gate: Inside) -> None:
    async with gate.client("modern") as payer, child(gate, await handed(payer, "fraud.check")) as reader:
        assert code(await call(payer, "payments_pay", PAYMENT)) == "denied"
        checked = {name: PAYMENT[name] for name in ("payment_id", "payee", "amount")}
        assert code(await call(reader, "fraud_check", checked)) == "ok"
        assert code(await call(payer, "payments_pay", PAYMENT)) == "ok"


async def test_a_child_lives_no_longer_than_it_was_given_and_than_whoever_made_it(gate: Inside) -> None:
    async with gate.client("modern") as payer:
        told = await handed(payer, "fraud.*", "run.delegate", ttl_s=600)
        async with child(gate, told) as reader:
            below = await handed(reader, "fraud.*", ttl_s=86_400)
    mine, its = await known(gate, told["token"]), await known(gate, below["token"])
    assert its.expires_at_ms == mine.expires_at_ms
    gate.clock.ms += 600_000
    for token in (told["token"], below["token"]):
        assert (await refused(gate, token)).startswith("identity_expired: payer:reader")


async def test_taking_a_child_back_ends_all_under_it_at_once_with_their_connections(gate: Inside) -> None:
    async with gate.client("modern") as payer, gate.client("modern", "payer2") as stranger:
        told = await handed(payer, "fraud.*", "run.*")
        beside = await handed(payer, "fraud.*")
        async with child(gate, told) as reader:
            below = await handed(reader, "fraud.check", "run.revoke")
            async with child(gate, below, "legacy") as last:
                assert code(await call(last, "fraud_check", CHECK)) == "ok"
                for forbidden in (told["child"], below["child"], beside["child"], "tg_nobody"):
                    assert code(await call(last, "run_revoke", {"child": forbidden})) == "invalid_arguments"
                assert code(await call(stranger, "run_revoke", {"child": told["child"]})) == "denied"
                ended = await call(payer, "run_revoke", {"child": told["child"], "reason": "done"})
                assert code(ended) == "ok"
                with pytest.raises(Exception, match=r"taken back|401"):
                    await call(last, "fraud_check", CHECK)
        assert "payer:reader:reader" in await refused(gate, below["token"])
        assert (await refused(gate, told["token"])).endswith("was withdrawn")
        assert (await known(gate, beside["token"])).child is not None


async def test_whatever_ends_the_agents_own_token_ends_its_children(gate: Inside) -> None:
    async with gate.client("modern", "lead") as lead:
        told = await handed(lead, "run.*")
        async with child(gate, told) as reader:
            below = await handed(reader, "run.brief")
    await Tokens(gate.gateway.store, gate.clock, RandomIds()).revoke("lead")  # as another process does it
    for token in (told["token"], below["token"]):
        while not await is_refused(gate, token):  # the gateway looks every POLL_S seconds
            await asyncio.sleep(0.02)
        assert (await refused(gate, token)).startswith("identity_revoked")


async def test_the_chain_is_in_the_ledger_and_the_token_is_not(gate: Inside) -> None:
    async with gate.client("modern") as payer:
        told = await handed(payer, "payments.*")
        async with child(gate, told) as reader:
            await call(reader, "payments_history", {})
    made = [line for line in await run_lines(gate.gateway.store, told["run"]) if line.tool == "payments.history"]
    [line] = [line for line in made if line.credential_id == told["child"]]
    assert (line.agent, line.who, line.delegation) == ("payer", "payer:reader", ("payer:reader", "payer"))
    assert line.asked["identity"]["child"]["scopes"] == ["payments.*"]
    secret = told["token"].rpartition("_")[2].encode()
    files = [path.read_bytes() for path in gate.database("gateway").parent.glob("gateway.db*")]
    assert any(told["child"].encode() in each for each in files)
    assert not any(secret in each for each in files)


async def test_a_childs_calls_are_counted_against_its_agents_budget(gate: Inside) -> None:
    async with gate.client("modern", "thrifty") as agent:
        async with child(gate, await handed(agent, "payments.history")) as reader:
            codes = [code(await call(reader, "payments_history", {})) for _ in range(4)]
        assert codes == ["ok", "ok", "ok", "budget_exceeded"]
        assert code(await call(agent, "payments_history", {})) == "budget_exceeded"


async def test_a_policy_may_have_a_person_look_at_what_a_child_does_and_they_see_that_it_is_one(gate: Inside) -> None:
    mail = {"recipient": "ann@acme.example", "subject": "s", "body": "b"}
    desk = gate.gateway.approving.desk
    async with gate.client("modern") as payer, child(gate, await handed(payer, "mail.*")) as reader:
        assert code(await call(reader, "mail_send", mail)) == "needs_approval"
        [asked] = await desk.listed(standing=False, is_open=True)
        told = described(asked, gate.clock.ms)
        assert (told["agent"], told["child"], told["tool"]) == ("payer", "payer:reader", "mail.send")
        await desk.approve("bob@acme.example", asked.id)
        assert code(await call(reader, "mail_send", mail)) == "ok"
        assert code(await call(payer, "mail_send", mail | {"subject": "mine"})) == "ok"


async def test_what_people_said_to_one_child_is_no_approval_of_another_or_of_their_agent(gate: Inside) -> None:
    mail = {"recipient": "ann@acme.example", "subject": "one of two", "body": "b"}
    desk = gate.gateway.approving.desk
    async with (
        gate.client("modern") as payer,
        child(gate, await handed(payer, "mail.*")) as reader,
        child(gate, await handed(payer, "mail.*")) as sibling,
    ):
        assert code(await call(reader, "mail_send", mail)) == "needs_approval"
        [asked] = await desk.listed(standing=False, is_open=True)
        await desk.approve("bob@acme.example", asked.id)
        assert code(await call(sibling, "mail_send", mail)) == "needs_approval"
        [its, _] = await desk.listed(standing=False, is_open=True)
        wait = {"approval": asked.id, "seconds": 0}
        assert code(await call(sibling, "approvals_wait", wait)) == "invalid_arguments"
        assert code(await call(payer, "approvals_wait", wait)) == "ok"  # it may see how those stand that work for it
        assert code(await call(reader, "mail_send", mail)) == "ok"
        assert (await desk.find(its.id)).state == "pending"
        await desk.deny("bob@acme.example", its.id)
        assert code(await call(sibling, "mail_send", mail)) == "approval_denied"


async def test_who_pauses_an_agent_pauses_its_children(gate: Inside) -> None:
    async with gate.client("modern") as payer, child(gate, await handed(payer, "payments.history")) as reader:
        stopped = PauseRecord("agent:payer", gate.clock.ms, "os:ann")
        await gate.gateway.store.put_pause(stopped)
        await gate.gateway.pauses.refresh()
        assert code(await call(reader, "payments_history", {})) == "paused"
        await gate.gateway.store.end_pause(stopped)
        await gate.gateway.pauses.refresh()


async def test_a_passport_tells_who_works_what_was_done_and_what_is_left_and_commits_to_the_ledger(
    gate: Inside,
) -> None:
    async with gate.client("modern", "thrifty") as agent, gate.client("modern") as payer:
        run = (await call(payer, "run_start", {})).structured_content["run"]  # type: ignore[index]
        assert code(await call(payer, "fraud_check", CHECK | {"payment_id": "y"}, run=run)) == "ok"
        mine = (await call(payer, "run_passport", {"audience": "bank"}, run=run)).structured_content
        its = (await call(agent, "run_passport", {"ttl_s": 60})).structured_content
    jwks = gate.gateway.signing.jwks()
    assert mine is not None
    assert its is not None
    claims = read_passport(mine["passport"], jwks, gate.clock.ms)
    assert claims["sub"] == SPIFFE
    assert (claims["aud"], claims["run"], claims["jti"]) == ("bank", run, mine["id"])
    assert claims["exp"] == mine["expires"] == gate.clock.ms // 1000 + 900
    assert claims["scopes"] == ["fraud.check", "mail.inbox", "mail.send", "payments.history", "payments.pay"]
    events = [event async for event in gate.gateway.store.events(EventFilter(after_seq=claims["ledger"]["seq"] - 1))]
    assert events[0].hash == claims["ledger"]["hash"]
    theirs = read_passport(its["passport"], jwks, gate.clock.ms)
    assert [each["of"] for each in theirs["budgets"]] == ["agent:thrifty"]
    assert theirs["exp"] == theirs["iat"] + 60
    assert "aud" not in theirs


async def test_a_childs_passport_ends_with_the_child_and_is_no_credential(gate: Inside) -> None:
    async with gate.client("modern") as payer:
        told = await handed(payer, "run.passport", ttl_s=120)
        async with child(gate, told) as reader:
            made = (await call(reader, "run_passport", {"ttl_s": 86_400})).structured_content
    assert made is not None
    claims = read_passport(made["passport"], gate.gateway.signing.jwks(), gate.clock.ms)
    assert claims["exp"] == gate.clock.ms // 1000 + 120
    assert (claims["act"], claims["scopes"]) == ({"sub": f"{SPIFFE}/reader"}, ["run.passport"])
    assert (await refused(gate, made["passport"])).startswith("unauthenticated")
    with pytest.raises(NotSigned, match="expired"):
        read_passport(made["passport"], gate.gateway.signing.jwks(), gate.clock.ms + 120_000)


async def given_to(client: Client, agent: str, *scopes: str, **more: Any) -> dict[str, Any]:
    """Have a client hand on to a registered agent; return what it is told."""
    asked = {"agent": agent, "scopes": list(scopes), **more}
    result = await call(client, "run_delegate", asked)
    assert code(result) == "ok", result
    assert result.structured_content is not None
    return result.structured_content


async def test_a_registered_agent_does_what_was_handed_on_to_it_under_its_own_token_and_name(gate: Inside) -> None:
    async with gate.client("modern") as payer, gate.client("modern", "researcher") as researcher:
        told = await given_to(payer, "researcher", "fraud_check")
        run = told["run"]
        assert (told["name"], told["scopes"], "token" in told) == ("payer:researcher", ["fraud.check"], False)
        assert code(await call(researcher, "fraud_check", CHECK, run=run)) == "ok"
        outside = await call(researcher, "payments_history", {}, run=run)  # its own policies allow it
        assert code(outside) == "denied"
        assert "payer:researcher was given fraud.check" in str(outside.content)
        assert code(await call(researcher, "run_start", {}, run=run)) == "denied"
        assert code(await call(researcher, "payments_history", {})) == "ok"  # in a run of its own
        other = (await call(payer, "run_start", {})).structured_content["run"]  # type: ignore[index]
        assert code(await call(researcher, "fraud_check", CHECK, run=other)) == "invalid_arguments"
    [line] = [
        line
        for line in await run_lines(gate.gateway.store, run)
        if line.agent == "researcher" and line.outcome == "succeeded"
    ]
    own = (await known(gate, gate.tokens["researcher"])).credential_id
    assert (line.who, line.delegation) == ("payer:researcher", ("payer:researcher", "payer"))
    assert (line.credential_id, line.run_id) == (own, run)


async def test_a_registered_agent_is_given_nothing_that_either_may_not_do(gate: Inside) -> None:
    await Tokens(gate.gateway.store, gate.clock, RandomIds()).revoke("gone")
    while not await is_refused(gate, gate.tokens["gone"]):
        await asyncio.sleep(0.02)
    async with gate.client("modern") as payer, gate.client("modern", "researcher") as researcher:

        async def why(client: Client, agent: str, *scopes: str, **more: Any) -> str:
            asked = {"agent": agent, "scopes": list(scopes)}
            result = await call(client, "run_delegate", asked, **more)
            assert code(result) == "delegation_refused", result
            return str(result.content)

        assert "There is no agent 'nobody'" in await why(payer, "nobody", "fraud.check")
        assert "You may use nothing" in await why(payer, "researcher", "payments.transfer")
        assert "may use nothing of mail.inbox itself" in await why(payer, "researcher", "mail.inbox")
        assert "through payer already" in await why(payer, "payer", "fraud.check")
        assert "no credential that is accepted" in await why(payer, "gone", "fraud.check")
        told = await given_to(payer, "researcher", "fraud.*", "run.delegate")
        assert "through payer already" in await why(researcher, "payer", "fraud.check", run=told["run"])
        assert "You may use nothing" in await why(researcher, "clerk", "payments.history", run=told["run"])
        both = {"name": "reader", "agent": "researcher", "scopes": ["fraud.*"]}
        assert code(await call(payer, "run_delegate", both)) == "invalid_arguments"
        assert code(await call(payer, "run_delegate", {"scopes": ["fraud.*"]})) == "invalid_arguments"
        passing_for = {"name": "researcher", "scopes": ["fraud.*"]}
        assert code(await call(payer, "run_delegate", passing_for)) == "delegation_refused"


async def test_each_call_that_is_made_for_another_agent_is_decided_as_if_that_agent_made_it_too(gate: Inside) -> None:
    never, asks = CHECK | {"payee": "MALLORY"}, CHECK | {"payee": "EVE"}
    desk = gate.gateway.approving.desk
    async with gate.client("modern") as payer, gate.client("modern", "researcher") as researcher:
        run = (await given_to(payer, "researcher", "fraud.check", "payments.*"))["run"]
        assert code(await call(researcher, "fraud_check", never)) == "ok"  # for itself
        denied = await call(researcher, "fraud_check", never, run=run)
        assert code(denied) == "denied"
        assert "This is done for agent payer. payer checks no MALLORY." in str(denied.content)
        assert code(await call(researcher, "payments_transfer", {"account": "X", "amount": 1.0}, run=run)) == "denied"
        assert code(await call(researcher, "fraud_check", asks, run=run)) == "needs_approval"
        [asked] = await desk.listed(standing=False, is_open=True)
        assert described(asked, gate.clock.ms)["child"] == "payer:researcher"
        await desk.approve("bob@acme.example", asked.id)
        assert code(await call(researcher, "fraud_check", asks, run=run)) == "ok"
        payment = PAYMENT | {"payment_id": "p_handed"}
        checked = {name: payment[name] for name in ("payment_id", "payee", "amount")}
        assert code(await call(researcher, "payments_pay", payment, run=run)) == "denied"
        assert code(await call(researcher, "fraud_check", checked, run=run)) == "ok"
        assert code(await call(researcher, "payments_pay", payment, run=run)) == "ok"


async def test_what_a_registered_agent_was_handed_ends_with_whatever_it_stands_on(gate: Inside) -> None:
    async with gate.client("modern", "boss") as boss, gate.client("modern", "researcher") as researcher:

        async def refusal_in(told: dict[str, Any]) -> str:
            return code(await call(researcher, "fraud_check", CHECK, run=told["run"]))

        told = await given_to(boss, "researcher", "fraud.check", "run.delegate", ttl_s=600)
        asked = {"name": "sub", "scopes": ["fraud.check"]}
        below = (await call(researcher, "run_delegate", asked, run=told["run"])).structured_content
        assert below is not None
        sub = await known(gate, below["token"])
        assert (sub.agent, sub.delegation[0]) == ("researcher", "boss:researcher:sub")
        assert [each.agent for each in sub.delegators] == ["boss"]
        assert code(await call(boss, "run_revoke", {"child": below["child"]})) == "ok"
        assert (await refused(gate, below["token"])).endswith("was withdrawn")
        assert await refusal_in(told) == "ok"
        gate.clock.ms += 600_000
        assert await refusal_in(told) == "delegation_refused"
        again = await given_to(boss, "researcher", "fraud.check")
        assert await refusal_in(again) == "ok"
        assert code(await call(boss, "run_revoke", {"child": again["child"]})) == "ok"
        assert await refusal_in(again) == "delegation_refused"
        last = await given_to(boss, "researcher", "fraud.check")
        await Tokens(gate.gateway.store, gate.clock, RandomIds()).revoke("boss")
        while await refusal_in(last) == "ok":
            await asyncio.sleep(0.02)
        assert await refusal_in(last) == "delegation_refused"
        assert code(await call(researcher, "fraud_check", CHECK)) == "ok"  # its own work goes on


async def test_work_goes_from_hand_to_hand_as_deep_as_the_operator_lets_it(gate: Inside) -> None:
    async with (
        gate.client("modern") as payer,
        gate.client("modern", "researcher") as researcher,
        gate.client("modern", "clerk") as clerk,
    ):
        run = (await given_to(payer, "researcher", "payments.history", "run.*"))["run"]
        asked = {"agent": "clerk", "scopes": ["payments.history"]}
        told = (await call(researcher, "run_delegate", asked, run=run)).structured_content
        assert told is not None
        assert told["name"] == "payer:researcher:clerk"
        assert code(await call(clerk, "payments_history", {}, run=run)) == "ok"
        assert code(await call(clerk, "mail_inbox", {}, run=run)) == "denied"
        passport = (await call(researcher, "run_passport", {}, run=run)).structured_content
        assert passport is not None
        claims = read_passport(passport["passport"], gate.gateway.signing.jwks(), gate.clock.ms)
        assert (claims["sub"], claims["act"]) == (SPIFFE, {"sub": f"{SPIFFE}/researcher"})
        assert code(await call(researcher, "run_revoke", {"child": told["child"]}, run=run)) == "ok"
        assert code(await call(clerk, "payments_history", {}, run=run)) == "delegation_refused"
    lines = [
        line
        for line in await run_lines(gate.gateway.store, run)
        if line.agent == "clerk" and line.outcome == "succeeded"
    ]
    assert {line.delegation for line in lines} == {("payer:researcher:clerk", "payer:researcher", "payer")}


async def test_work_for_another_agent_stops_with_it_and_is_charged_to_it_too(gate: Inside) -> None:
    async with gate.client("modern", "frugal") as frugal, gate.client("modern", "researcher") as researcher:
        run = (await given_to(frugal, "researcher", "payments.history"))["run"]
        stopped = PauseRecord("agent:frugal", gate.clock.ms, "os:ann")
        await gate.gateway.store.put_pause(stopped)
        await gate.gateway.pauses.refresh()
        assert code(await call(researcher, "payments_history", {}, run=run)) == "paused"
        assert code(await call(researcher, "payments_history", {})) == "ok"
        await gate.gateway.store.end_pause(stopped)
        await gate.gateway.pauses.refresh()
        codes = [code(await call(researcher, "payments_history", {}, run=run)) for _ in range(2)]
        assert codes == ["ok", "budget_exceeded"]


async def test_an_agent_is_denied_a_call_that_sets_what_it_may_not_set_and_told_what(gate: Inside) -> None:
    async with gate.client("modern", "editor") as editor:
        mail = {"recipient": "ann@acme.example", "subject": "s", "body": "b"}
        denied = await call(editor, "mail_send", mail)
        assert code(denied) == "denied"
        assert "sets `subject`, and editor may set `recipient`, `body` only" in str(denied.content)
        through = {"name": "mail_send", "arguments": mail}
        assert code(await call(editor, "tools_call", through)) == "denied"
