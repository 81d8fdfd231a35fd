"""A configuration as an operator writes it, and what comes back when it is wrong."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from gateway.config import ConfigError, GatewayConfig, load, schema, show
from gateway.connector.plugin import Connector, ConnectorConfig
from gateway.connector.secret import Secret


class ShopConfig(ConnectorConfig):
    base_url: str
    api_key: Secret
    retries: int = Field(3, ge=0)


class Shop(Connector[ShopConfig]):
    """A plugin."""

    name = "shop"


class Mcp(Connector[ShopConfig]):
    """Stands for the connector of plain MCP servers."""

    name = "mcp"


CONNECTORS: Any = {"shop": Shop, "mcp": Mcp}


class Missing(ValueError):
    code = "secret_missing"


def resolve(text: str) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] == "secret:key":
            return "s3cret-value"
        raise Missing(f"there is no {match[1]}")

    return re.sub(r"\$\{(.*?)\}", value, text)


def write(folder: Path, text: str) -> Path:
    path = folder / "gateway.yaml"
    path.write_text(text, "utf-8")
    return path


def refused(folder: Path, text: str, **options: Any) -> list[tuple[int, int, str, str, str]]:
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load(path, resolve, **options)
    assert all(problem.file == str(path) for problem in caught.value.problems)
    return [(p.line, p.column, p.code, p.message, p.fix) for p in caught.value.problems]


def test_the_smallest_configuration_listens_on_loopback_and_allows_nobody(tmp_path: Path) -> None:
    config = load(write(tmp_path, "version: 1\n"), resolve)
    assert (config.server.host, config.server.port) == ("127.0.0.1", 8750)
    assert (config.agents, config.policies, config.mcpServers) == ({}, [], {})


def test_a_pasted_host_file_block_is_taken_as_it_is(tmp_path: Path) -> None:
    block = {"version": 1, "mcpServers": {"files": {"command": "npx", "args": ["-y", "x"], "env": {"A": "b"}}}}
    assert load(write(tmp_path, json.dumps(block, indent="\t")), resolve).mcpServers == block["mcpServers"]


JAY = """version: 1
agents: {jay: {auth: {jwt: {issuer: "https://idp.example", audience: toolgate, subject: jay}}}}
"""


def test_references_are_replaced_where_the_gateways_own_secrets_belong(tmp_path: Path) -> None:
    def whsec(text: str) -> str:
        return text.replace("${secret:hook}", "whsec_" + "a2tr" * 10).replace("${secret:idp}", "s3cret-value")

    text = (
        'approvals: {webhook: {url: "https://x.example", secret: "${secret:hook}"}}\n'
        'identity: {logins: [{issuer: "https://idp.example", client_id: gate, client_secret: "${secret:idp}"}]}\n'
        'events: {siem: {url: "https://siem.example/in", secret: "${secret:hook}"}}\n'
    )
    path = write(tmp_path, JAY + text)
    config = load(path, whsec)
    assert config.identity.logins[0].secret == "s3cret-value"
    assert config.approvals.webhook is not None
    assert config.approvals.webhook.secret.get_secret_value().startswith("whsec_")
    assert config.events["siem"].secret.get_secret_value().startswith("whsec_")
    shown = json.dumps(show(path, whsec))
    assert ("s3cret" in shown, "whsec_a2tr" in shown) == (False, False)


def test_users_log_in_at_an_issuer_that_vouches_for_some_of_them_once(tmp_path: Path) -> None:
    logins = 'identity: {logins: [{issuer: "https://idp.example", client_id: gate}]}\n'
    assert load(write(tmp_path, JAY + logins), resolve).identity.logins[0].secret == ""
    message = "no agent has JWTs of the issuer `https://idp.example`"
    alone = "name it under an agent's `auth: { jwt: … }`"
    assert refused(tmp_path, f"version: 1\n{logins}") == [(2, 30, "wrong_value", message, alone)]
    elsewhere = JAY.replace("idp.example", "x.example")
    assert refused(tmp_path, elsewhere + logins)[0][4] == "there: https://x.example"
    [twice] = refused(tmp_path, JAY + logins.replace("]", ', {issuer: "https://idp.example", client_id: x}]'))
    assert "named twice" in twice[3]


def test_references_are_replaced_in_servers_and_not_in_what_is_no_secret(tmp_path: Path) -> None:
    text = (
        'version: 1\nmcpServers: {a: {env: {K: "Bearer ${secret:key}", N: 5}, args: ["${secret:key}"]}}\n'
        'agents: {payer: {owner: "${secret:key}"}}\n'
    )
    config = load(write(tmp_path, text), resolve)
    assert config.mcpServers["a"] == {"env": {"K": "Bearer s3cret-value", "N": 5}, "args": ["s3cret-value"]}
    assert config.agents["payer"].owner == "${secret:key}"
    assert "s3cret-value" not in repr(config)


def test_every_reference_that_leads_nowhere_is_named_in_its_place(tmp_path: Path) -> None:
    text = "version: 1\nmcpServers:\n  a:\n    env: {A: '${B}', C: '${D}'}\n"
    assert refused(tmp_path, text) == [
        (4, 14, "secret_missing", "there is no B", ""),
        (4, 25, "secret_missing", "there is no D", ""),
    ]


@pytest.mark.parametrize(
    ("text", "place", "code", "says"),
    [
        ("", (1, 1), "missing_key", "add `version:`"),
        ("version: 2\n", (1, 10), "wrong_value", "`version`"),
        ("version: '1'\n", (1, 10), "wrong_value", "`version`"),
        ("version: 1\nmcpservers: {}\n", (2, 1), "unknown_key", "did you mean `mcpServers`?"),
        ("version: 1\nxyzzy: {}\n", (2, 1), "unknown_key", "known here: agents, approvals, budgets, endpoints"),
        ("version: 1\nserver:\n  lisen: a:1\n", (3, 3), "unknown_key", "did you mean `listen`?"),
        ("version: 1\nserver: {listen: 8750}\n", (2, 18), "wrong_value", "`listen`"),
        ("version: 1\nserver: {list_limit: 0}\n", (2, 22), "wrong_value", "`list_limit`"),
        ("version: 1\nserver: {result_limit: 1023}\n", (2, 24), "wrong_value", "1024"),
        ("version: 1\ntools: {a: {result_limit: some}}\n", (2, 27), "wrong_value", "`result_limit`"),
        ("version: 1\nmcpServers:\n  tools: {command: x}\n", (3, 3), "wrong_value", "gateway's own tools"),
        ("version: 1\nmcpServers: {results: {}}\n", (2, 14), "wrong_value", "call the server otherwise"),
        ("version: 1\nmcpServers: {run: {}}\n", (2, 14), "wrong_value", "call the server otherwise"),
        ("version: 1\nserver: {listen: 'h:99999'}\n", (2, 18), "wrong_value", "HOST:PORT"),
        ("version: 1\nserver: {listen: '::1:1'}\n", (2, 18), "wrong_value", "HOST:PORT"),
        ("version: 1\nserver: {store: 'mysql://x'}\n", (2, 17), "wrong_value", "sqlite:///FILE"),
        ("version: 1\nserver: {store: 'sqlite:///'}\n", (2, 17), "wrong_value", "sqlite:///FILE"),
        ("version: 1\nserver: {public_url: 'ftp://x'}\n", (2, 22), "wrong_value", "http(s)://HOST"),
        ("version: 1\nserver: {origins: ['*']}\n", (2, 20), "wrong_value", "what a browser calls a page's"),
        ("version: 1\nserver: {origins: ['http://a.example/']}\n", (2, 20), "wrong_value", "without a path"),
        ("version: 1\nserver: [1]\n", (2, 9), "wrong_value", "`server`"),
        ("version: 1\nmcpServers:\n  'my server': {}\n", (3, 3), "wrong_value", "`my server`"),
        ("version: 1\ntools:\n  a.b: {efect: read}\n", (3, 9), "unknown_key", "did you mean `effect`?"),
        ("version: 1\ntools:\n  a.b: {effect: reed}\n", (3, 17), "wrong_value", "`effect`"),
        ("version: 1\ntools:\n  a.b: {idempotent: on}\n", (3, 21), "wrong_value", "`idempotent`"),
        ("version: 1\ntools:\n  a.b: {idempotency_key: [1]}\n", (3, 27), "wrong_value", "`0`"),
        ("version: 1\nagents:\n  p:\n    auth: {locl: true}\n", (4, 12), "unknown_key", "did you mean `local`?"),
        (
            "version: 1\nagents:\n  p:\n    auth:\n      jwt: {issuer: 'https://i'}\n",
            (5, 7),
            "missing_key",
            "`audience`",
        ),
        ("version: 1\nagents: {p: {auth: {jwt: {isuer: x}}}}\n", (2, 21), "missing_key", "`issuer`"),
        (
            "version: 1\nworkflows:\n  w: {key: k, rules: [{call: p.pay, require: [{call: f.check, wihtin: 1h}]}]}\n",
            (3, 63),
            "unknown_key",
            "did you mean `within`?",
        ),
        ("version: 1\nworkflows:\n  w: {key: k, rules: []}\n", (3, 22), "wrong_value", "`rules`"),
        ("- version\n", (1, 1), "wrong_value", "object"),
    ],
)
def test_a_mistake_is_told_with_its_line_its_column_and_its_remedy(
    tmp_path: Path, text: str, place: tuple[int, int], code: str, says: str
) -> None:
    found = refused(tmp_path, text)[0]
    assert found[:3] == (*place, code)
    assert says in f"{found[3]} {found[4]}"


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    found = refused(tmp_path, "version: 1\nserver: {lisen: x, store: 5}\ntool: {}\nagents: {p: {tier: 101}}\n")
    assert [(line, code) for line, _, code, _, _ in found] == [
        (2, "unknown_key"),
        (2, "wrong_value"),
        (3, "unknown_key"),
        (4, "wrong_value"),
    ]


@pytest.mark.parametrize(
    ("endpoint", "column", "says"),
    [
        ("{servers: [files, fiels]}", 24, "no server is called `fiels`: did you mean `files`?"),
        ("{agents: [nobody]}", 16, "no agent is called `nobody`"),
        ("{teams: [finanse]}", 15, "no team is called `finanse`: did you mean `finance`?"),
    ],
)
def test_an_endpoint_names_only_what_is_configured(tmp_path: Path, endpoint: str, column: int, says: str) -> None:
    head = "version: 1\nmcpServers: {files: {command: x}}\nagents: {payer: {teams: [finance]}}\nendpoints:\n"
    [found] = refused(tmp_path, f"{head}  e: {endpoint}\n")
    assert found[:3] == (5, column, "wrong_value")
    assert says in f"{found[3]}: {found[4]}"


def test_an_endpoint_may_show_the_gateway_s_own_tools(tmp_path: Path) -> None:
    shown = "{servers: [run, facts], agents: [p], teams: [money]}"
    text = f"version: 1\nagents: {{p: {{teams: [money]}}}}\nendpoints: {{e: {shown}}}\n"
    assert load(write(tmp_path, text), resolve).endpoints["e"].servers == ["run", "facts"]


@pytest.mark.parametrize(
    ("section", "column", "code", "says"),
    [
        ("{connector: shop, api_key: k, base_url: u, retry: 1}", 51, "unknown_key", "did you mean `retries`?"),
        ("{connector: shop, base_url: u}", 3, "missing_key", "`api_key`"),
        ("{base_url: u, api_key: k, retries: -1}", 43, "wrong_value", "`retries`"),
        ("{connector: shopp}", 20, "wrong_value", "installed: mcp, shop"),
        ("{connector: [x]}", 20, "wrong_value", "installed: mcp, shop"),
    ],
)
def test_a_server_is_checked_against_the_connector_that_will_read_it(
    tmp_path: Path, section: str, column: int, code: str, says: str
) -> None:
    text = f"version: 1\nmcpServers:\n  crm: {section}\n"
    found = refused(tmp_path, text, connectors=CONNECTORS)
    assert [each[:3] for each in found][:1] == [(3, column, code)]
    assert says in f"{found[0][3]} {found[0][4]}"


def test_a_server_that_its_connector_takes_is_loaded(tmp_path: Path) -> None:
    text = "version: 1\nmcpServers: {crm: {connector: shop, base_url: u, api_key: '${secret:key}'}}\n"
    assert load(write(tmp_path, text), resolve, CONNECTORS).mcpServers["crm"]["api_key"] == "s3cret-value"


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [("[::1]:0", "::1", 0), ("0.0.0.0:80", "0.0.0.0", 80), ("gate.example:1", "gate.example", 1)],
)
def test_the_address_is_split_into_host_and_port(tmp_path: Path, listen: str, host: str, port: int) -> None:
    server = load(write(tmp_path, f"version: 1\nserver: {{listen: '{listen}'}}\n"), resolve).server
    assert (server.host, server.port) == (host, port)


def test_what_is_shown_has_its_defaults_and_no_secret(tmp_path: Path) -> None:
    text = (
        "version: 1\n"
        "server: {store: 'memory:', public_url: 'https://gate.example'}\n"
        "mcpServers:\n"
        "  a: {command: c, args: [plain], env: {K: '${secret:key}', L: literal-secret, N: 3}}\n"
        "  b: {url: 'https://x', headers: {Authorization: Bearer abc}, auth: {bearer: [abc]}}\n"
        "  c: {command: c, args: [--api-key, literal-secret, '--token=${secret:key}', --db=pg://u:literal-pass@db]}\n"
        "  d: {url: 'https://x/mcp?key=literal-secret&page=first-page'}\n"
    )
    shown = show(write(tmp_path, text), resolve)
    assert shown["server"]["listen"] == "127.0.0.1:8750"
    assert shown["mcpServers"] == {
        "a": {"command": "c", "args": ["plain"], "env": {"K": "${secret:key}", "L": "***", "N": 3}},
        "b": {"url": "https://x", "headers": {"Authorization": "***"}, "auth": {"bearer": ["***"]}},
        "c": {"command": "c", "args": ["--api-key", "***", "--token=${secret:key}", "--db=pg://u:***@db"]},
        "d": {"url": "https://x/mcp?key=***&page=first-page"},
    }
    assert "s3cret-value" not in json.dumps(shown)


def test_a_configuration_without_servers_can_be_shown(tmp_path: Path) -> None:
    assert show(write(tmp_path, "version: 1\n"), resolve)["mcpServers"] == {}


def test_the_schema_for_editors_describes_every_field() -> None:
    described = schema()
    undescribed = [
        f"{name}.{key}"
        for name, node in {"GatewayConfig": described, **described["$defs"]}.items()
        for key, field in node.get("properties", {}).items()
        if "description" not in field and "$ref" not in field  # a reference brings its section's own
    ]
    assert undescribed == []
    assert described["required"] == ["version"]


def test_no_section_has_more_than_ten_fields() -> None:
    """But for what composes concepts: the whole, and the rule of a tool, of which each concept says its own."""
    sections = {name: node for name, node in GatewayConfig.model_json_schema()["$defs"].items() if name != "ToolRule"}
    assert {name: n for name, node in sections.items() if (n := len(node.get("properties", {}))) > 10} == {}


def test_what_is_said_of_a_server_itself_is_checked_and_kept_from_its_connector(tmp_path: Path) -> None:
    shop = "connector: shop, base_url: https://shop.example.com, api_key: k"
    path = write(tmp_path, f"version: 1\nmcpServers:\n  shop: {{ {shop}, trust: 60, quarantined: true }}\n")
    standing = load(path, resolve, CONNECTORS).standing()["shop"]
    assert (standing.trust, standing.quarantined) == (60, True)
    wrong = f"version: 1\nmcpServers:\n  shop: {{ {shop}, trust: 101, quarantined: maybe }}\n"
    found = refused(tmp_path, wrong, connectors=CONNECTORS)
    assert [(line, message.split(":")[0]) for line, _, _, message, _ in found] == [(3, "`trust`"), (3, "`quarantined`")]


def test_who_answers_for_a_server_is_checked_and_kept_from_its_connector(tmp_path: Path) -> None:
    shop = "connector: shop, base_url: https://shop.example.com, api_key: k"
    about = "about: { owner: shop team, contact: '#shop', runbook: 'https://runbooks.example.com/shop' }"
    path = write(tmp_path, f"version: 1\nmcpServers:\n  shop: {{ {shop}, {about} }}\n  other: {{ {shop} }}\n")
    told = {"owner": "shop team", "contact": "#shop", "runbook": "https://runbooks.example.com/shop"}
    assert {name: about.told() for name, about in load(path, resolve, CONNECTORS).abouts().items()} == {"shop": told}
    wrong = f"  shop: {{ {shop}, about: {{ owner: 7, onwer: x }} }}\n  other: {{ {shop}, about: me }}\n"
    found = refused(tmp_path, f"version: 1\nmcpServers:\n{wrong}", connectors=CONNECTORS)
    assert [(line, code) for line, _, code, _, _ in found] == [
        (3, "wrong_value"),
        (3, "unknown_key"),
        (4, "wrong_value"),
    ]
