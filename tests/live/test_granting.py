"""A person opens a tool to an agent for a while: a real client, real commands, SQLite and a restart."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
from mcp.client import Client

from gateway.identity.tokens import Tokens
from gateway.model.clock import RandomIds
from tests.live.inside import Inside, call, code, inside
from tests.live.running import PAYMENTS, ROOT, command_inside, environment

CONFIG = f"""{PAYMENTS[: PAYMENTS.index("workflows:")]}policies: ["policies"]
people:
  bob@acme.example: {{ roles: [access-granters] }}
  office@acme.example: {{ roles: [access-granters] }}
"""
MAIL = {"recipient": "a@acme.example", "subject": "s", "body": "b"}


def prepare(home: Path) -> None:
    (home / "policies").mkdir(parents=True)
    pack = ROOT / "policies" / "granted.cedar"
    (home / "policies" / pack.name).write_text(pack.read_text("utf-8"), "utf-8")


async def access(gate: Inside, *arguments: str) -> Any:
    done = await asyncio.to_thread(command_inside, gate.home, environment(), "access", *arguments, "--json")
    return json.loads(done.stdout)


async def names(client: Client) -> set[str]:
    return {tool.name for tool in (await client.list_tools()).tools}


async def test_what_a_person_opens_is_listed_and_works_once_and_holds_over_a_restart(tmp_path: Path) -> None:
    prepare(tmp_path)
    async with inside(tmp_path, CONFIG) as gate, gate.client("modern", "clerk") as client:
        gate.clock.ms += 1_000  # commands go by the wall clock
        assert "mail_send" not in await names(client)
        refused = await call(client, "mail_send", MAIL)
        assert code(refused) == "denied"
        assert "toolgate access grant clerk mail.send" in refused.content[0].text  # type: ignore[union-attr]
        own = await access(gate, "grant", "clerk", "mail.send", "--as", "office@acme.example")
        assert own["error"] == "may_not_approve"
        opened = await access(gate, "grant", "clerk", "mail.send", "--as", "bob@acme.example", "--reason", "once")
        assert (opened["state"], opened["most"], opened["access"]) == ("approved", 1, True)
        while "mail_send" not in await names(client):
            await asyncio.sleep(0.05)
        for agent in gate.tokens:
            await Tokens(gate.gateway.store, gate.clock, RandomIds()).revoke(agent)
    async with inside(tmp_path, CONFIG) as gate, gate.client("legacy", "clerk") as client:
        [row] = await access(gate, "grants")
        assert (row["id"], row["used"], row["where"]) == (opened["id"], 0, [])
        assert await command(gate, "approvals", "standing", "list") == []
        explained = await command(
            gate, "explain", "clerk", "mail.send", f"recipient={MAIL['recipient']}", "subject=s", "body=b"
        )
        assert explained["allowed"]
        assert code(await call(client, "mail_send", MAIL)) == "ok"
        assert code(await call(client, "mail_send", {**MAIL, "subject": "again"})) == "denied"
        while "mail_send" in await names(client):
            await asyncio.sleep(0.05)
        assert await access(gate, "grants") == []
        [row] = await access(gate, "grants", "--all")
        assert (row["state"], row["used"]) == ("used", 1)
        await gate.gateway.store.verify()


async def command(gate: Inside, *arguments: str) -> Any:
    done = await asyncio.to_thread(command_inside, gate.home, environment(), *arguments, "--json")
    return json.loads(done.stdout)


async def test_people_elsewhere_open_and_close_over_http_and_nobody_else_does(tmp_path: Path) -> None:
    prepare(tmp_path)
    async with inside(tmp_path, CONFIG) as gate, gate.client("modern", "clerk") as client:
        own = (await Tokens(gate.gateway.store, gate.clock, RandomIds()).issue("person:bob@acme.example")).token
        url = gate.url.replace("/mcp", "/-/approvals")
        wanted = {"agent": "clerk", "tool": "mail.send", "most": 2, "until_ms": gate.clock.ms + 60_000, "access": True}
        async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {own}"}) as http:
            while (await http.get(url)).status_code == 401:
                await asyncio.sleep(0.02)
            assert (await http.post(f"{url}/standing", json={**wanted, "access": "yes"})).status_code == 400
            agents = {"Authorization": f"Bearer {gate.tokens['clerk']}"}
            assert (await http.post(f"{url}/standing", json=wanted, headers=agents)).status_code == 401
            opened = (await http.post(f"{url}/standing", json=wanted)).json()
            assert code(await call(client, "mail_send", MAIL)) == "ok"
            closed = (await http.post(f"{url}/{opened['id']}/revoke", json={"reason": "done"})).json()
        assert (closed["state"], closed["used"]) == ("revoked", 1)
        assert code(await call(client, "mail_send", {**MAIL, "subject": "again"})) == "denied"


async def test_a_grant_as_people_read_it(tmp_path: Path) -> None:
    prepare(tmp_path)
    async with inside(tmp_path, CONFIG) as gate:
        opening = (
            "grant",
            "clerk",
            "mail.send",
            "--where",
            'recipient == "a@acme.example"',
            "--count",
            "3",
            "--run",
            "run_7",
        )
        told = await text(gate, *opening, "--as", "bob@acme.example")
        assert ("access           true" in told, "run              run_7" in told) == (True, True)
        listed = await text(gate, "grants")
        for word in ("clerk", "mail.send", 'recipient == "a@acme.example"', "run_7", "bob@acme.example", "0 of 3"):
            assert word in listed
        grant = listed.splitlines()[-1].split()[0]
        assert "revoked" in await text(gate, "revoke", grant, "--as", "bob@acme.example")
        assert "nothing is open" in await text(gate, "grants")


async def text(gate: Inside, *arguments: str) -> str:
    return (await asyncio.to_thread(command_inside, gate.home, environment(), "access", *arguments)).stdout
