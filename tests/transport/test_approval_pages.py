"""A person decides on a page: they see the whole call and nothing else than it, and nobody passes for them."""

import html
import json
import re
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
import pytest

from gateway.approval.config import ApprovalsSection
from gateway.identity.tokens import Tokens
from gateway.ledger.retention import Retention
from gateway.model.errors import StoreFault
from gateway.pipeline.desk import Grant
from gateway.store.approvals import ApprovalFilter, ApprovalTrail
from gateway.store.memory import MemoryStore
from tests.fixtures.clock import FakeClock
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, PRECONDITION, SECRET, Gate, answer
from tests.pipeline.people import ASK, LEADS, PEOPLE, TWO, asked, is_done, shown
from tests.transport.front import Front, bearer

ORIGIN = "http://127.0.0.1:8750"
EVIL = "<script>alert(1)</script>\u202eevil\u200b"


def fronting(*policies: str, **more: Any) -> Front:
    return Front(Gate(*(policies or (PERMIT_ALL, ASK, LEADS)), people=PEOPLE, **more))


@dataclass
class Window:
    """One browser at the gateway's pages: what it shows, and the secret it keeps."""

    front: Front
    token: str
    cookie: str = ""
    at: httpx2.Response = field(init=False)

    async def open(self, path: str) -> str:
        """Open a page, and show who sits there if it asks; return what it says."""
        await self._go("GET", path)
        if "Who are you?" in self.at.text:
            await self.send(path, deed="token", token=self.token)
        return self.text

    async def press(self, deed: str, **fields: str) -> str:
        """Send one of the page's forms."""
        assert f'name="deed" value="{deed}"' in self.at.text, self.at.text
        return await self.send(self.at.url.path, deed=deed, key=self.key, **fields)

    @property
    def key(self) -> str:
        """What shows that a form is of this page."""
        return re.findall(r'name="key" value="([^"]+)"', self.at.text)[0]

    async def send(self, path: str, **fields: str) -> str:
        """Send a form as it is, and go where its answer leads."""
        await self._go("POST", path, data=fields, headers={"origin": ORIGIN})
        if self.at.status_code == 303:
            await self._go("GET", self.at.headers["location"])
        return self.text

    @property
    def text(self) -> str:
        """What a person reads of the page."""
        shown = re.sub(r"<style>.*?</style>", "", self.at.text)
        return html.unescape(re.sub(r"<[^>]*>", "", shown))

    async def _go(self, verb: str, path: str, headers: Any = None, **options: Any) -> None:
        sent = {**(headers or {}), **({"cookie": self.cookie} if self.cookie else {})}
        self.at = await self.front.send(verb, path, headers=sent, **options)
        if "set-cookie" in self.at.headers:
            self.cookie = self.at.headers["set-cookie"].partition(";")[0]


async def window(front: Front, name: str = "bob") -> Window:
    tokens = Tokens(front.gate.store, front.gate.clock, front.gate.ids)
    return Window(front, (await tokens.issue(f"person:{name}")).token)


async def test_a_person_sees_the_whole_call_and_approves_it_and_it_is_on_record_how_they_were_known() -> None:
    front = fronting()
    approval = await asked(front.gate, {"payee": "ACME", "payment_id": "p_17", "note": "first\nsecond", "amount": 250})
    bob = await window(front)
    said = await bob.open(f"/-/approve/{approval}")
    assert "payer wants to call payments.pay" in said
    assert "pending: Payments are looked at first." in said
    for each in ("payments.pay (irreversible)", "leads", approval, "nobody but the agent", "pay.approval"):
        assert each in said
    order = [said.index(f'"{name}"') for name in ("payee", "payment_id", "note", "amount")]
    assert order == sorted(order)
    assert r"first\nsecond" in said
    assert "approved" in await bob.press("approve", why="looked at it")
    vote = (await front.gate.approving.approvals.find(approval)).votes[0]
    assert (vote.by, vote.why, vote.channel) == ("bob", "looked at it", "page (token)")
    call = {"payee": "ACME", "payment_id": "p_17", "note": "first\nsecond", "amount": 250}
    assert is_done((await front.gate.run("payments_pay", call)).outcome)
    assert "bob approved" in await bob.open(f"/-/approve/{approval}")
    assert 'value="approve"' not in bob.at.text


async def test_nothing_in_a_call_can_hide_reorder_or_become_a_part_of_the_page() -> None:
    front = fronting()
    call = {**PAYMENT, "payee": EVIL, "ACM\u0415": '"><img src=x onerror=alert(1)>', "long": "x" * 5000 + "END"}
    bob = await window(front)
    said = await bob.open(f"/-/approve/{await asked(front.gate, call)}")
    assert r"<script>alert(1)</script>\u202eevil\u200b" in said
    assert "xEND" in said
    assert "\u0415 CYRILLIC CAPITAL LETTER IE" in said
    assert "<script" not in bob.at.text
    assert "<img" not in bob.at.text
    assert "\u202e" not in bob.at.text
    for each in re.findall(r"<bdi>(.*?)</bdi>", bob.at.text):
        assert "<" not in each
    policy = bob.at.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert policy.endswith("; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
    assert "unsafe" not in policy
    assert (bob.at.headers["cache-control"], bob.at.headers["x-frame-options"]) == ("no-store", "DENY")


async def test_a_stranger_learns_nothing_not_even_whether_there_is_such_an_approval() -> None:
    front = fronting()
    approval = await asked(front.gate)
    pages = []
    for path in (f"/-/approve/{approval}", "/-/approve/apr_no", "/-/approve"):
        response = await front.send("GET", path)
        pages.append((response.status_code, response.text))
        denied = await front.send(
            "POST", path, data={"deed": "deny", "why": "no", "key": ""}, headers={"origin": ORIGIN}
        )
        pages.append((denied.status_code, denied.text))
    assert len(set(pages)) == 1
    assert "payments" not in pages[0][1]
    assert await asked(front.gate) == approval


@pytest.mark.parametrize("host", ["localhost:8750", "[::1]:8750"])
async def test_a_stranger_who_came_by_another_name_of_this_machine_is_sent_to_where_a_login_leads_back(
    host: str,
) -> None:
    front = fronting()
    path = f"/-/approve/{await asked(front.gate)}"
    sent = await front.send("GET", path, headers={"host": host})
    assert (sent.status_code, sent.headers["location"]) == (303, f"{ORIGIN}{path}")
    assert "Who are you?" in (await front.send("GET", path)).text
    front.gate.pages.site.serve_at("127.0.0.1", 8750, "https://gate.example")
    assert "Who are you?" in (await front.send("GET", path, headers={"host": host})).text


async def test_who_has_yet_to_show_who_they_are_comes_back_to_where_they_were_in_the_list() -> None:
    front = fronting()
    await asked(front.gate)
    path = "/-/approve?before=apr_%26x%3D1"
    sent = await front.send("GET", path, headers={"host": "localhost:8750"})
    assert sent.headers["location"] == f"{ORIGIN}{path}"
    form = {"deed": "token", "token": (await window(front)).token}
    known = await front.send("POST", path, data=form, headers={"origin": ORIGIN})
    assert known.headers["location"] == path


@pytest.mark.parametrize("token", ["", "tg_1_00", "an agent's", "revoked", "somebody who is not configured"])
async def test_what_is_no_persons_token_opens_no_page(token: str) -> None:
    front = fronting()
    approval = await asked(front.gate)
    tokens = Tokens(front.gate.store, front.gate.clock, front.gate.ids)
    made = {
        "an agent's": (await tokens.issue("payer")).token,
        "revoked": (await tokens.issue("person:carol")).token,
        "somebody who is not configured": (await tokens.issue("person:zoe")).token,
    }
    await tokens.revoke("person:carol")
    stranger = Window(front, made.get(token, token))
    said = await stranger.open(f"/-/approve/{approval}")
    assert "none of the people whom this gateway knows" in said
    assert (stranger.at.status_code, stranger.cookie) == (403, "")
    assert "payments" not in said
    [refusal] = [event.body for event in await front.gate.events() if event.kind == "admin"]
    assert '"what":"approval page refused"' in refusal
    assert stranger.token == "" or stranger.token not in refusal


async def test_who_tries_tokens_one_after_another_is_counted_once_that_is_enough_and_nobody_else_is() -> None:
    front = fronting()
    form = {"deed": "token", "token": "tg_1_00"}
    for peer in ["192.0.2.1"] * 102 + ["192.0.2.2"]:
        await front.send("POST", "/-/approve", peer=peer, data=form, headers={"origin": ORIGIN})
    await front.gate.strangers.tell()
    told = [event.body for event in await front.gate.events() if event.kind == "admin"]
    assert (len(told), '"from":{"192.0.2.1":2}' in told[-1]) == (102, True)


async def test_who_loses_their_token_or_their_place_among_the_people_is_out_at_once() -> None:
    front = fronting()
    approval = await asked(front.gate)
    bob, carol = await window(front), await window(front, "carol")
    await bob.open(f"/-/approve/{approval}")
    await carol.open(f"/-/approve/{approval}")
    await Tokens(front.gate.store, front.gate.clock, front.gate.ids).revoke("person:bob")
    await front.tokens.refresh()
    assert "Who are you?" in await bob.press("approve")
    others = {name: one for name, one in front.gate.rules.current.people.items() if name != "carol"}
    front.gate.rules.current = replace(front.gate.rules.current, people=others)
    assert "Nobody is called 'carol'" in await carol.press("approve")
    assert (await front.gate.approving.approvals.find(approval)).votes == ()


@pytest.mark.parametrize("passed_s", [3601, 8 * 3600 + 1])
async def test_who_has_been_away_too_long_shows_again_who_they_are(passed_s: int) -> None:
    front = fronting()
    bob = await window(front)
    await bob.open("/-/approve")
    bob.token, left = "", passed_s
    while left > 3601:  # they look now and then
        await passes(front, 3000)
        left -= 3000
        assert "You are bob" in await bob.open("/-/approve")
    await passes(front, left)
    assert "none of the people" in await bob.open("/-/approve")


async def test_a_form_from_elsewhere_does_nothing() -> None:
    front = fronting()
    approval = await asked(front.gate)
    bob = await window(front)
    await bob.open(f"/-/approve/{approval}")
    page = f"/-/approve/{approval}"
    for key in ("", "guessed", "\u00e9"):
        await bob.send(page, deed="approve", key=key)
        assert bob.at.status_code == 403
    await bob.open(page)
    form = {"deed": "approve", "key": bob.key}
    for origin in ("https://evil.example", "null"):
        refused = await front.send("POST", page, data=form, headers={"cookie": bob.cookie, "origin": origin})
        assert refused.status_code == 403
    assert (await front.gate.approving.approvals.find(approval)).votes == ()


async def passes(front: Front, seconds: int) -> None:
    clock: Any = front.gate.clock
    clock.passed += seconds
    await front.tokens.refresh()


async def cookie_of(person: Window) -> str:
    form = {"deed": "token", "token": person.token}
    answered = await person.front.send("POST", "/-/approve", data=form, headers={"origin": ORIGIN})
    return str(answered.headers["set-cookie"])


async def test_the_cookie_is_for_the_gateway_alone_where_browsers_come_by_tls() -> None:
    front = fronting()
    carol = await window(front, "carol")
    assert "Path=/-/approve;" in await cookie_of(carol)
    front.gate.pages.site.serve_at("127.0.0.1", 8750, "https://gate.example")
    cookie = await cookie_of(carol)
    assert cookie.startswith("__Host-toolgate-person=")
    for each in ("Secure", "Path=/", "HttpOnly", "SameSite=lax"):
        assert each in cookie
    front.gate.pages.site.base = ""
    assert (await front.send("GET", "/-/approve")).status_code == 503


async def test_a_refusal_says_why_and_the_agent_is_told() -> None:
    front = fronting()
    bob = await window(front)
    await bob.open(f"/-/approve/{await asked(front.gate)}")
    assert "why not" in await bob.press("deny", why=" ")
    await bob.open(f"/-/approve/{await asked(front.gate)}")
    assert "denied" in await bob.press("deny", why="not this month")
    told = shown(front.gate, await front.gate.run("payments_pay"))
    assert (told["code"], "not this month" in told["text"]) == ("approval_denied", True)


async def test_edited_arguments_are_shown_beside_those_that_were_asked_for() -> None:
    front = fronting(PERMIT_ALL, TWO, LEADS)
    bob, carol = await window(front), await window(front, "carol")
    before = {**PAYMENT, "payee": "AC\u200bME"}
    first = await asked(front.gate, before)
    await bob.open(f"/-/approve/{first}")
    written = html.unescape(re.search(r"<textarea[^>]*>(.*?)</textarea>", bob.at.text, re.S)[1])  # type: ignore[index]
    assert r"AC\u200bME" in written
    for junk in ("{", "[]", '{"amount": 1, "amount": 2}'):
        await bob.press("edit", arguments=junk)
        assert bob.at.status_code == 400
        await bob.open(f"/-/approve/{first}")
    said = await bob.press("edit", arguments=written.replace("250", "100"), why="a first part")
    assert '-   "amount": 250\n+   "amount": 100\n' in said
    assert f"Changed by a person, from {first}" in said
    new = str(bob.at.url.path).rpartition("/")[2]
    assert "bob approved" in said
    await carol.open(f"/-/approve/{new}")
    assert "approved" in await carol.press("approve")
    assert is_done((await front.gate.run("payments_pay", {**before, "amount": 100})).outcome)
    assert new in await bob.open(f"/-/approve/{first}")


async def test_of_two_who_press_at_once_the_second_is_told_what_the_first_did() -> None:
    front = fronting()
    approval = await asked(front.gate)
    bob, carol = await window(front), await window(front, "carol")
    await bob.open(f"/-/approve/{approval}")
    await carol.open(f"/-/approve/{approval}")
    await bob.press("deny", why="no")
    assert "is denied: nothing can be said to it any more" in await carol.press("approve")
    assert carol.at.status_code == 409
    assert shown(front.gate, await front.gate.run("payments_pay"))["code"] == "approval_denied"


async def test_what_is_over_says_what_became_of_it_and_offers_nothing() -> None:
    front = fronting()
    approval = await asked(front.gate)
    bob = await window(front)
    await bob.open(f"/-/approve/{approval}")
    await passes(front, 25 * 3600)
    said = await bob.open(f"/-/approve/{approval}")
    assert "expired" in said
    assert not re.search(r'value="(approve|deny|edit|withdraw)"', bob.at.text)
    await bob.open("/-/approve/apr_no")
    assert (bob.at.status_code, "There is no approval" in bob.text) == (404, True)


async def test_what_retention_removed_is_said_to_be() -> None:
    front = fronting()
    approval = await asked(front.gate)
    await front.gate.approving.desk.approve("bob", approval)
    assert is_done((await front.gate.run("payments_pay")).outcome)
    await passes(front, 200 * 86_400)
    assert await Retention(front.gate.store, lambda: 180 * 86_400_000, front.gate.clock).run() > 0
    bob = await window(front)
    said = await bob.open(f"/-/approve/{approval}")
    assert ("used: removed by retention" in said, bob.at.status_code) == (True, 200)
    await bob.send(f"/-/approve/{approval}", deed="deny", why="late", key=bob.key)
    assert (bob.at.status_code, "its time is over" in bob.text) == (409, True)


async def test_who_may_not_decide_is_told_why_and_may_look() -> None:
    front = fronting()
    approval = await asked(front.gate)
    dan = await window(front, "dan")
    said = await dan.open(f"/-/approve/{approval}")
    assert "You cannot approve this: no policy lets dan approve calls of payments.pay." in said
    assert not re.search(r'value="(approve|deny|edit|withdraw)"', dan.at.text)
    await dan.send(f"/-/approve/{approval}", deed="approve", key=dan.key)
    assert dan.at.status_code == 403
    listed = await dan.open("/-/approve")
    assert "Nothing waits for you." in listed
    assert "payer: payments.pay" in listed


async def test_the_list_puts_first_what_its_reader_may_decide() -> None:
    front = fronting(PERMIT_ALL, TWO, LEADS)
    one, two = await asked(front.gate), await asked(front.gate, {**PAYMENT, "amount": 1})
    bob = await window(front)
    await bob.open(f"/-/approve/{one}")
    await bob.press("approve")
    assert "You cannot approve this: bob has approved it already." in bob.text
    listed = await bob.open("/-/approve")
    mine, _, others = bob.at.text.partition("What others decide")
    assert (two in mine, one in mine, one in others) == (True, False, True)
    assert "bob has approved it already." in listed
    await bob.open(f"/-/approve/{one}")
    assert "pending" in await bob.press("withdraw")
    assert (await front.gate.approving.approvals.find(one)).votes == ()


async def test_a_list_that_is_cut_says_so() -> None:
    front = fronting()
    bob = await window(front)
    made = [await asked(front.gate, {**PAYMENT, "amount": amount}) for amount in range(1000)]
    assert "Only the newest" not in await bob.open("/-/approve")
    newest = await asked(front.gate, {**PAYMENT, "amount": 1000})
    text = await bob.open("/-/approve")
    assert "Only the newest of what waits are listed here." in text
    assert (f'/{made[0]}"' in bob.at.text, f'/{newest}"' in bob.at.text) == (False, True)
    assert f'href="/-/approve?before={made[1]}"' in bob.at.text
    rest = await bob.open(f"/-/approve?before={made[1]}")
    assert (f'/{made[0]}"' in bob.at.text, f'/{newest}"' in bob.at.text) == (True, False)
    assert "Only the newest" not in rest
    await bob.open("/-/approve?before=apr_none")
    assert bob.at.status_code == 404


async def test_the_evidence_is_what_the_rules_relied_on_and_what_the_run_did_before() -> None:
    front = fronting(PERMIT_ALL, PRECONDITION, ASK, LEADS)
    front.gate.servers["fraud"].calls.append(answer({"result": "passed", "score": 3}))
    await front.gate.run("fraud_check")
    bob = await window(front)
    said = await bob.open(f"/-/approve/{await asked(front.gate)}")
    assert "What the rules relied on" in said
    assert re.search(r"fraud\.check, succeeded .*passed", said, re.S)
    assert "payer: fraud.check, succeeded" in said


async def test_no_secret_is_shown_and_nobody_edits_its_mask() -> None:
    front = fronting()
    bob = await window(front)
    said = await bob.open(f"/-/approve/{await asked(front.gate, {**PAYMENT, 'payee': SECRET})}")
    assert SECRET not in bob.at.text
    await bob.press("edit", arguments='{"payment_id": "p_17", "payee": "[redacted]", "amount": 1}')
    assert (bob.at.status_code, "hold a secret" in bob.text) == (400, True), said


async def test_a_standing_approval_is_shown_too() -> None:
    front = fronting()
    desk = front.gate.approving.desk
    wanted = Grant("payer", "payments.pay", 3, 1_900_000_000_000, ("amount < 9",))
    bob = await window(front)
    said = await bob.open(f"/-/approve/{(await desk.grant('bob', wanted)).id}")
    assert "payments.pay" in said
    assert '"amount"' in said


async def test_who_logs_in_again_and_again_puts_nobody_else_out_and_has_a_few_browsers_at_most() -> None:
    front = fronting()
    bob, eve = await window(front), await window(front, "eve")
    await bob.open("/-/approve")
    seats = []
    for _ in range(1001):
        await eve._go("POST", "/-/approve", data={"deed": "token", "token": eve.token}, headers={"origin": ORIGIN})
        seats.append(eve.cookie)
    assert "You are bob" in await bob.open("/-/approve")
    known = [cookie for cookie in seats if await sits_there(front, cookie)]
    assert known == seats[-16:]


async def sits_there(front: Front, cookie: str) -> bool:
    return "You are" in (await front.send("GET", "/-/approve", headers={"cookie": cookie})).text


async def test_who_leaves_is_nobody_any_more() -> None:
    front = fronting()
    bob = await window(front)
    await bob.open("/-/approve")
    old = bob.cookie
    assert "Who are you?" in await bob.press("leave")
    assert "Who are you?" in (await front.send("GET", "/-/approve", headers={"cookie": old})).text
    assert bearer() not in bob.at.text


async def test_what_is_no_form_is_refused() -> None:
    front = fronting()
    bob = await window(front)
    await bob.open("/-/approve")
    await bob.send("/-/approve", deed="approve", key=bob.key)
    assert bob.at.status_code == 404
    headers = {"cookie": bob.cookie, "origin": ORIGIN}
    for body, status in ((b"deed=%ff", 400), (b"\xff", 400), (b"why=" + b"x" * 1_100_000, 413), (b"", 403)):
        sent = await front.send("POST", "/-/approve", content=body, headers=headers)
        assert sent.status_code == status, body[:20]
    for body, status in ((b"why=x&" * 17, 400), (b"why=" + b"x" * 16_384, 413)):  # of whom nobody knows, little is read
        sent = await front.send("POST", "/-/approve", content=body, headers={"origin": ORIGIN})
        assert sent.status_code == status, body[:20]
    sent = await front.send("POST", "/-/approve", content=b"why=" + b"x" * 1_000_000, headers=headers)
    assert sent.status_code == 403
    assert (await front.send("GET", "/-/approve/back?state=a&state=b")).status_code == 400
    assert (await front.send("GET", "/-/approve/back?state=a")).status_code == 404
    assert (await front.send("POST", "/-/approve", data={"deed": "login", "issuer": "https://evil"})).status_code == 400


async def test_a_ledger_that_cannot_be_read_is_said_so() -> None:
    clock = FakeClock()

    class Broken(MemoryStore):
        async def list_approvals(self, wanted: ApprovalFilter) -> list[ApprovalTrail]:
            raise StoreFault("The ledger cannot be read right now.")

    front = fronting(clock=clock, store=Broken(clock))
    bob = await window(front)
    assert "cannot be read right now" in await bob.open("/-/approve")
    assert bob.at.status_code == 503


async def test_a_person_takes_a_call_to_answer_and_who_is_late_is_shown() -> None:
    front = fronting(approvals=ApprovalsSection(wait_s=0, answer_within="1h"))
    approval = await asked(front.gate)
    bob, dan = await window(front), await window(front, "dan")
    await bob.open(f"/-/approve/{approval}")
    assert "bob" in (await bob.press("take")).partition("to be answered by")[2]
    assert 'value="take"' not in bob.at.text
    await passes(front, 3600)
    assert [each.id for each in await front.gate.approving.approvals.overdue()] == [approval]
    assert "(overdue)" in await bob.open(f"/-/approve/{approval}")
    assert "pending, overdue, for bob to answer" in await bob.open("/-/approve")
    await dan.open(f"/-/approve/{approval}")
    await dan.send(f"/-/approve/{approval}", deed="take", key=dan.key)
    assert dan.at.status_code == 403


async def test_what_is_too_long_to_compare_is_shown_whole_and_said_to_be() -> None:
    front = fronting()
    bob = await window(front)
    call = {**PAYMENT, "lines": list(range(4000))}
    await bob.open(f"/-/approve/{await asked(front.gate, call)}")
    said = await bob.press("edit", arguments=json.dumps({**call, "amount": 1}))
    assert "There is too much of it to be compared here." in said
    assert "3999" in said
