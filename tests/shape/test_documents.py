"""What the documents say is so."""

import re
from importlib import import_module
from pathlib import Path

from typer.main import get_command

from gateway.cli import COMMANDS
from gateway.model import errors
from gateway.model.errors import CODES
from tests.shape.source import ROOT, files

ROW = re.compile(r"^\| `(?P<code>\w+)` \| (?P<family>\w+) \| (?P<sees>[^|]+) \| (?P<do>[^|]+) \|$", re.MULTILINE)
ERRORS = (ROOT / "gateway/model/ERRORS.md").read_text("utf-8")


def test_exactly_the_error_codes_that_exist_are_documented() -> None:
    documented = [row["code"] for row in ROW.finditer(ERRORS)]
    assert sorted(documented) == sorted(CODES)


def test_each_error_code_is_documented_under_its_own_family() -> None:
    for row in ROW.finditer(ERRORS):
        family = getattr(errors, row["family"])
        assert row["code"] in family.codes, row["code"]
        assert row["do"].strip()


def test_every_file_a_document_links_to_exists() -> None:
    link = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")
    broken = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in _documents()
        for target in link.findall(document.read_text("utf-8"))
        if not (document.parent / target).exists()
    ]
    assert broken == []


def test_every_make_target_a_document_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {name for d in _documents() for name in re.findall(r"\bmake ([a-z][a-z-]+)`?", _code(d))}
    assert named - targets == set()


def test_every_command_that_a_message_or_a_document_names_exists() -> None:
    named = re.compile(r"`toolgate ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?")
    texts = [path for path in files() if path.suffix in {".md", ".py"} and "tests" not in path.parts]
    unknown = [
        f"{path.relative_to(ROOT)}: toolgate {command} {word}"
        for path in texts
        for command, word in named.findall(path.read_text("utf-8"))
        if not _exists(command, word)
    ]
    assert unknown == []


def _exists(command: str, word: str) -> bool:
    place = COMMANDS.get(command, ("", ""))[0]
    if not place.endswith(":commands") or not word:
        return bool(place)
    group = get_command(import_module(place.partition(":")[0]).commands())
    return word in getattr(group, "commands", {})


def _documents() -> list[Path]:
    return [path for path in files() if path.suffix == ".md"]


def _code(document: Path) -> str:
    """The code spans and blocks of a document: prose may use the verb."""
    text = document.read_text("utf-8")
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL))
