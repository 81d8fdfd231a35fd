"""The starter policies do what their cases say, alone and all together."""

from pathlib import Path

import pytest

from gateway.policy import AgentEntity, Bundle, LoadOptions, PolicySource, sources_under
from gateway.policy.cases import read_cases, run_cases
from gateway.policy.lint import check
from tests.policy.acme import TOOLS

FOLDER = Path(__file__).parents[2] / "policies"
PACKS = sorted(path.stem for path in FOLDER.glob("*.cedar"))


def cases_of(pack):
    path = FOLDER / f"{pack}.cases.yaml"
    return read_cases(path.name, path.read_text(encoding="utf-8"))


def bundle_of(pack):
    cases = cases_of(pack)
    sources = [*sources_under(FOLDER / f"{pack}.cedar"), PolicySource("beside", cases.beside)]
    options = LoadOptions(servers=cases.standing(), facts=cases.facts)
    return Bundle.load(sources, cases.pinned(), cases.registered(), options)


def test_every_pack_has_cases_and_every_cases_file_a_pack():
    assert PACKS
    assert sorted(path.name.removesuffix(".cases.yaml") for path in FOLDER.glob("*.cases.yaml")) == PACKS


@pytest.mark.parametrize("pack", PACKS)
def test_a_pack_does_what_its_cases_say(pack):
    results = run_cases(bundle_of(pack), cases_of(pack))
    assert [f"{result.case.it}: {result.why}" for result in results if not result.passed] == []
    decided = {name for result in results for name in result.reasons}
    assert decided >= {policy.id for policy in bundle_of(pack).policies}  # every policy is shown to matter


@pytest.mark.parametrize("pack", PACKS)
def test_a_pack_has_nothing_suspicious(pack):
    findings = check(bundle_of(pack))
    assert [problem for problem in findings if problem.file != "beside"] == []


@pytest.mark.parametrize("pack", PACKS)
def test_a_pack_explains_itself(pack):
    text = (FOLDER / f"{pack}.cedar").read_text(encoding="utf-8")
    assert text.startswith("//")
    assert f"`{pack}.cedar`" in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(policy.terms.message for policy in bundle_of(pack).policies if policy.id != "allow")


def test_all_packs_load_together_and_deny_by_default():
    bundle = Bundle.load(sources_under(FOLDER), TOOLS, [AgentEntity("anyone")])
    assert len(bundle.policies) >= len(PACKS) - 1
    permits = [one for one in bundle.policies if one.is_permit and not one.id.endswith("who-grants")]
    assert all("approve" in one.id or one.heeds_grant for one in permits)
