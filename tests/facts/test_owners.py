"""Whose a fact is follows from who calls."""

import pytest
from pydantic import ValidationError

from gateway.facts.config import FactSection
from gateway.facts.owners import FactScope, owner_of
from gateway.model.call import Call
from gateway.model.identity import Identity
from tests.pipeline.gate import caller, request


def call(session: str | None = None, user: str | None = None) -> Call:
    made = Call("c1", request("facts.get", {}, caller=caller("payer", session)), 0)
    made.identity = Identity("payer", "token", "t", on_behalf_of=user)
    return made


@pytest.mark.parametrize(
    ("scope", "owner"),
    [("run", "run_1"), ("session", "payer/s1"), ("agent", "payer"), ("user", "ann"), ("team", "finance")],
)
def test_each_scope_belongs_to_what_it_is_called(scope: str, owner: str) -> None:
    assert owner_of(FactScope(scope), call("s1", "ann"), "run_1", ["finance"]) == owner


@pytest.mark.parametrize("scope", ["session", "user", "team"])
def test_who_has_none_owns_nothing(scope: str) -> None:
    assert owner_of(FactScope(scope), call(), "run_1", []) == ""


def test_who_is_in_several_teams_names_one_of_them() -> None:
    teams = ["finance", "ops"]
    assert owner_of(FactScope.TEAM, call(), "r", teams) == ""
    assert owner_of(FactScope.TEAM, call(), "r", teams, "ops") == "ops"
    assert owner_of(FactScope.TEAM, call(), "r", teams, "sales") == ""


def test_a_declared_fact_of_a_team_says_which() -> None:
    declared = FactSection.model_validate({"type": "integer", "scope": "team", "team": "ops"})
    assert declared.json_schema == {"type": "integer"}
    for wrong in ({"scope": "team"}, {"team": "ops"}):
        with pytest.raises(ValidationError, match="name the `team`"):
            FactSection.model_validate({"type": "integer", **wrong})


def test_times_and_lists_of_texts_are_types_too() -> None:
    assert FactSection(type="datetime").json_schema == {"type": "string", "format": "date-time"}
    assert FactSection(type="strings").json_schema == {"type": "array", "items": {"type": "string"}}
