"""Who answers for a server, and for a connector."""

from email.message import Message

import pytest

from gateway.connector.about import About, Manifest

URLS = {"Changelog": "https://example.com/changes", "RUNBOOK": "https://example.com/runbook"}
WHOLE = Manifest("Payments <pay@example.com>", "1.2", "https://example.com/runbook", "https://example.com/changes")


@pytest.mark.parametrize(
    ("about", "words", "ask"),
    [
        ({}, "", ""),
        ({"owner": "payments"}, "ask payments", "Ask payments, who answers for it."),
        ({"contact": "#pay"}, "ask #pay", ""),
        (
            {"owner": "payments", "contact": "#pay", "runbook": "restart it"},
            "ask payments (#pay); runbook: restart it",
            "Ask payments, who answers for it.",
        ),
        ({"runbook": "https://example.com"}, "runbook: https://example.com", ""),
    ],
)
def test_people_are_told_all_that_is_known_and_agents_whom_to_ask(about: dict[str, str], words: str, ask: str) -> None:
    made = About.model_validate(about)
    assert (made.words(), made.ask, made.told()) == (words, ask, about)


def test_a_package_that_is_installed_and_one_that_is_written_say_the_same() -> None:
    metadata = Message()
    metadata["Version"] = "1.2"
    metadata["Maintainer-email"] = "Payments <pay@example.com>"
    for label, url in URLS.items():
        metadata["Project-URL"] = f"{label}, {url}"
    metadata["Project-URL"] = "no label"
    assert Manifest.installed(metadata) == WHOLE
    people = [{"name": "Payments", "email": "pay@example.com"}]
    assert Manifest.declared({"version": "1.2", "maintainers": people, "urls": URLS}) == WHOLE
    assert WHOLE.missing() == []


def test_authors_answer_where_no_maintainer_does() -> None:
    people = {"authors": [{"name": "Ann"}, {"email": "bob@example.com"}]}
    assert Manifest.declared(people) == Manifest("Ann")
    assert Manifest.declared(people).missing() == ["version", "runbook", "changelog"]
    assert Manifest.installed(Message()) == Manifest()


class Strict(Message):
    """As the backport `importlib_metadata` reads it, which takes the place of the standard one where it is imported."""

    def __getitem__(self, name: str) -> str:
        if name not in self:
            raise KeyError(name)
        return str(super().__getitem__(name))


def test_a_package_without_maintainers_is_read_by_the_backport_too() -> None:
    metadata = Strict()
    metadata["Version"] = "1.2"
    metadata["Author"] = "Ann"
    assert Manifest.installed(metadata) == Manifest("Ann", "1.2")
