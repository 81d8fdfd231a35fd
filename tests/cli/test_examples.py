"""The help of every command ends with an example, and the command takes it as it stands."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import click
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from gateway.cli import build
from gateway.cli.examples import EXAMPLES


def leaves(command: Any, *path: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "list_commands"):
        yield " ".join(path), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        yield from leaves(command.get_command(context, name), *path, name)


COMMANDS = {path: command for path, command in leaves(get_command(build())) if path != "stdio"}


def test_every_command_has_an_example_and_no_other_has() -> None:
    assert EXAMPLES.keys() == COMMANDS.keys()  # they are in gateway/cli/examples.py


@pytest.mark.parametrize("path", EXAMPLES)
def test_a_command_takes_its_example(path: str) -> None:
    words = shlex.split(re.sub(r" > \S+$", "", EXAMPLES[path]).rpartition(" | ")[2])
    assert words[: len(path.split()) + 1] == ["toolgate", *path.split()]
    COMMANDS[path].make_context(path, words[len(path.split()) + 1 :])


def test_help_ends_with_the_example_and_offers_completion_only_for_the_whole_line() -> None:
    told = CliRunner().invoke(build(), ["runs", "passport", "--help"]).output
    assert told.rstrip().endswith(f"Example: {EXAMPLES['runs passport']}")
    assert "--install-completion" not in CliRunner().invoke(build(), ["runs", "--help"]).output
    assert "--install-completion" in CliRunner().invoke(build(), ["--help"]).output
