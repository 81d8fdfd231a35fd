"""A governed method of a server is a tool by the name `server.method`."""

import pytest

from gateway.model.operation import ACTION_OF, ASKS, operation, operation_named
from gateway.model.tool import Effect


@pytest.mark.parametrize("method", sorted(ACTION_OF))
def test_an_operation_is_named_by_server_and_method_and_changes_nothing(method):
    made = operation("files", method)
    assert (made.name, made.server, made.method, made.effect) == (f"files.{method}", "files", method, Effect.READ)
    assert made.deadline_s == (900.0 if method in ASKS else 60.0)
    assert operation_named(f"files.{method}") is made
    assert made.digest.startswith("sha256:")
    assert made.digest != operation("other", method).digest


def test_a_deadline_can_be_said():
    assert operation("files", "resources/read", 5.0).deadline_s == 5.0


@pytest.mark.parametrize("name", ["files.read", "files", "", ".resources/read", "resources/read", "a.b.resources/read"])
def test_a_name_that_is_no_operations_is_none(name):
    assert operation_named(name) is None


@pytest.mark.parametrize("method", ["sampling/forge", "", "\ud800"])
def test_a_method_that_is_not_governed_still_makes_a_value_that_can_be_refused(method):
    assert operation("files", method).method == method
