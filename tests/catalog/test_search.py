"""Tools are found by what they are called and what they say they do."""

import random
from typing import Any

import pytest

from gateway.catalog.catalog import Catalog
from gateway.catalog.lock import Lock, Pin
from gateway.catalog.search import Index, words_of

TOOLS: dict[str, dict[str, Any]] = {
    "crm": {
        "create_invoice": {"description": "Write a bill for a customer."},
        "listInvoices": {"description": "Return every bill.", "title": "All invoices"},
        "delete_customer": {"description": "Forget somebody for good."},
        "quote": {"inputSchema": {"type": "object", "properties": {"invoiceNumber": {}}}},
    },
    "mail": {
        "send": {"description": "Send a message. Not for invoices.", "annotations": {"title": "Dispatch"}},
        "搜索": {"description": "查找 所有邮件"},
        "odd": {"description": 7, "title": None, "annotations": []},
    },
}


def found(query: str, limit: int = 10) -> list[str]:
    pins = {
        server: {name: Pin.of({"name": name, **more}) for name, more in tools.items()}
        for server, tools in TOOLS.items()
    }
    tools = Catalog.build(Lock(pins), {}, {}).tools()
    return [tools[number].name for number, _ in Index([words_of(tool) for tool in tools]).find(query, limit)]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("create invoice", "crm.create_invoice"),
        ("list invoices", "crm.listInvoices"),
        ("LISTINVOICES crm", "crm.listInvoices"),
        ("crm.listInvoices", "crm.listInvoices"),
        ("delete a customer", "crm.delete_customer"),
        ("dispatch", "mail.send"),
        ("messages", "mail.send"),
        ("invoice number", "crm.quote"),
        ("邮件", "mail.搜索"),
    ],
)
def test_the_tool_that_is_meant_comes_first(query: str, first: str) -> None:
    assert found(query)[0] == first


def test_a_name_counts_for_more_than_a_word_in_passing() -> None:
    hits = found("invoices")
    assert hits[0] == "crm.listInvoices"
    assert hits.index("crm.create_invoice") < len(hits)
    assert "mail.odd" not in hits


@pytest.mark.parametrize("query", ["", "   ", "zzz", "of", "()[]{}*?\\", "\u0000", "q" * 400])
def test_a_query_that_says_nothing_finds_nothing(query: str) -> None:
    assert found(query) == []


def test_at_most_so_many_are_found_and_the_same_query_finds_the_same() -> None:
    assert len(found("crm", 2)) == 2
    assert found("crm mail send invoice") == found("crm mail send invoice")


def test_nothing_is_found_in_nothing() -> None:
    assert Index([]).find("anything", 10) == []
    assert Index([{}, {"a": 1}]).find("a", 10) == [(1, pytest.approx(0.8, abs=0.5))]


def test_a_rare_word_outweighs_a_common_one() -> None:
    texts = [{"common": 1, **({"rare": 1} if number == 42 else {})} for number in range(100)]
    assert Index(texts).find("common rare", 1)[0][0] == 42


def test_every_tool_of_a_thousand_is_found_by_its_own_name() -> None:
    letters = random.Random(7)
    names = [" ".join("".join(letters.choices("abcdefgh", k=5)) for _ in range(3)) for _ in range(1000)]
    index = Index([dict.fromkeys(name.split(), 3) for name in names])
    missed = [name for number, name in enumerate(names) if index.find(name, 1)[0][0] != number]
    assert missed == []
