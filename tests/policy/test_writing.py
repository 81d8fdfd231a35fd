"""What policies can say and see is what WRITING.md says."""

import re
from pathlib import Path

from gateway.model.facts import PriorQuery, PriorScope
from gateway.policy.annotations import KEYS
from gateway.policy.schema import ToolShapes, build_schema
from gateway.policy.shape import record_of
from tests.policy.acme import STRING, load, record, tool

PAGE = (Path(__file__).parents[2] / "gateway/policy/WRITING.md").read_text("utf-8")


def row(begins: str) -> str:
    [found] = [line for line in PAGE.splitlines() if line.startswith(f"| `{begins}`")]
    return found


def test_every_annotation_has_its_row() -> None:
    assert set(re.findall(r"^\| `@(\w+)", PAGE, re.MULTILINE)) == set(KEYS)


def test_everything_of_the_context_is_named() -> None:
    shapes = ToolShapes(record_of(record(id=STRING)), record_of(record(id=STRING)))
    look = PriorQuery("look", "crm.find", (), PriorScope.RUN)
    schema = build_schema({"crm.find": shapes}, {"crm.find": [look]}, ["production"], grants=True)["Gateway"]
    prior = schema["actions"]["crm.find"]["appliesTo"]["context"]["attributes"]["prior"]["attributes"]["look"]
    for begins, attributes in (
        ("context.base", schema["commonTypes"]["Base"]["attributes"]),
        ("context.prior.NAME", prior["attributes"]),
        ("principal", schema["entityTypes"]["Agent"]["shape"]["attributes"]),
    ):
        assert {name for name in attributes if f"`{name}`" not in row(begins)} == set()


def test_the_example_loads() -> None:
    example = PAGE.split("```")[1]
    bundle = load(example, tools=[tool("crm.find", record(id=STRING)), tool("mail.send", record(customer=STRING))])
    assert [policy.id for policy in bundle.policies] == ["letters.only-after-a-look"]
