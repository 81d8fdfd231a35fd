"""The two forms of a task, read from what servers say."""

from typing import Any

import pytest

from gateway.task.forms import LEGACY, MODERN, Form, broken, form_of, offers, task_in

WORKING = {"taskId": "t", "status": "working"}


@pytest.mark.parametrize(
    ("result", "task"),
    [
        ({"task": WORKING}, WORKING),
        ({"task": WORKING, "_meta": {}}, WORKING),
        ({"resultType": "task", **WORKING}, {"resultType": "task", **WORKING}),
        ({"task": "x"}, None),
        ({"resultType": "complete", "task": WORKING}, None),
        ({"content": []}, None),
    ],
)
def test_a_result_says_in_either_form_that_a_call_became_a_task(result: Any, task: Any) -> None:
    assert task_in(result) == task


@pytest.mark.parametrize("form", [LEGACY, MODERN])
def test_a_result_is_made_of_a_task_and_renamed_without_losing_anything(form: Form) -> None:
    made = {**form.made_of({**WORKING, "unknown": None}), "_meta": {"x": 1}}
    renamed = form.renamed(made, "ours")
    assert form.task_in(renamed) is not None
    assert form.renamed(renamed, "t") == made
    assert form_of(form.name) is form


@pytest.mark.parametrize(
    ("interval", "pause_s"), [(None, 5.0), ("x", 5.0), (True, 5.0), (1000, 1.0), (0, 0.25), (-1, 0.25), (10**400, 60.0)]
)
def test_the_pause_is_what_the_server_wants_within_bounds(interval: Any, pause_s: float) -> None:
    assert LEGACY.pause_s({"pollInterval": interval}) == pause_s
    assert MODERN.pause_s({"pollIntervalMs": interval}) == pause_s


@pytest.mark.parametrize(("ttl", "lives"), [(None, 99), (50, 50), (0, 0), (100, 99), (-1, 99), ("x", 99), (True, 99)])
def test_a_task_lives_as_long_as_its_server_says_within_bounds(ttl: Any, lives: int) -> None:
    assert (LEGACY.lives_ms({"ttl": ttl}, 99), MODERN.lives_ms({"ttlMs": ttl}, 99)) == (lives, lives)


@pytest.mark.parametrize(
    "task", [{}, {"taskId": 7}, {"taskId": ""}, {"taskId": "x" * 1025}, {"taskId": "t", "status": []}]
)
def test_what_is_no_task_is_said_to_be_none(task: Any) -> None:
    assert broken({"status": "working", **task})
    assert not broken(WORKING)


@pytest.mark.parametrize(
    ("capabilities", "legacy", "modern"),
    [
        ({}, False, False),
        ({"tasks": {}}, False, False),
        ({"tasks": {"requests": {"tools": {"call": {}}}}}, True, False),
        ({"tasks": {"requests": {"tools": {"call": True}}}}, False, False),
        ({"tasks": {"requests": []}, "extensions": {"io.modelcontextprotocol/tasks": {}}}, False, True),
        ({"extensions": []}, False, False),
    ],
)
def test_a_server_offers_tasks_by_its_capabilities(capabilities: Any, legacy: bool, modern: bool) -> None:
    assert (offers(capabilities, LEGACY), offers(capabilities, MODERN)) == (legacy, modern)
