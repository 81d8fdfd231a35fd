"""What a hostile or broken server can try, line by line, and the tests that hold it off.

The lines are those of the security checklist under "Behind"; a line without a test fails, and so does a test that is
not there.
"""

import ast
import re
from functools import cache

import pytest

from tests.live.running import ROOT

HOSTILE = "tests/live/test_hostile.py::test_a_hostile_tool_is_not_called_and_the_operator_is_told_why"
SHOWN = "tests/live/test_hostile.py::test_no_hostile_tool_is_shown_and_what_stands_beside_it_works"
DRIFT = "tests/live/test_catalog.py::test_a_tool_that_changed_is_quarantined_and_says_so"
OVER_HTTP = "tests/faults/test_matrix.py::test_a_fault_over_http_has_its_promised_end"
OVER_SSE = "tests/faults/test_matrix.py::test_a_fault_over_the_sse_transport_has_its_promised_end"
OVER_PIPES = "tests/faults/test_matrix.py::test_a_fault_over_pipes_has_its_promised_end"
WEIGHT = "tests/catalog/test_weight.py::test_a_schema_that_makes_too_much_work_of_any_value_is_refused"
SCREEN = "tests/catalog/test_catalog.py::test_a_hostile_definition_is_named_for_what_it_is"

BEHIND: dict[str, list[str]] = {
    "poisoned description": [
        f"{DRIFT}[a description]",
        "tests/cli/test_schema.py::test_a_hostile_definition_cannot_be_approved",
    ],
    "rug pull: description": [f"{DRIFT}[a description]"],
    "rug pull: schema": [f"{DRIFT}[a schema]", f"{DRIFT}[an output schema]"],
    "rug pull: annotations": [f"{DRIFT}[an annotation]"],
    "rug pull across a restart": [
        "tests/live/test_catalog.py::test_a_server_that_was_restarted_with_another_tool_never_gets_the_call"
    ],
    "ANSI": [f"{HOSTILE}[ansi]"],
    "tag characters": [f"{HOSTILE}[tags]"],
    "bidi": [f"{HOSTILE}[bidi]"],
    "zero width": [f"{HOSTILE}[zero_width]", f"{HOSTILE}[hidden_argument]"],
    "shadowed names": ["tests/live/test_hostile.py::test_two_servers_with_a_tool_of_one_name_are_told_apart"],
    "duplicate names": [
        "tests/live/test_catalog.py::test_a_tool_that_vanished_and_one_listed_twice_are_not_callable",
        "tests/catalog/test_catalog.py::test_a_name_listed_twice_is_quarantined",
    ],
    "homoglyphs": [
        "tests/live/test_hostile.py::test_a_tool_with_a_name_that_misleads_is_nobodys",
        "tests/catalog/test_catalog.py::test_a_name_that_nobody_may_have_takes_no_other_tool_away",
    ],
    "new tools": ["tests/live/test_catalog.py::test_a_new_tool_of_a_known_server_is_nobodys_before_a_person_approves"],
    "vanished tools": ["tests/live/test_catalog.py::test_a_tool_that_vanished_and_one_listed_twice_are_not_callable"],
    "remote $ref": [f"{HOSTILE}[remote_ref]", f"{HOSTILE}[remote_dialect]", SCREEN],
    "file $ref": [f"{HOSTILE}[file_ref]", SCREEN],
    "cycles": [f"{HOSTILE}[cycle]", f"{WEIGHT}[itself]"],
    "billion laughs": [
        f"{HOSTILE}[billion_laughs]",
        f"{WEIGHT}[a billion laughs]",
        "tests/catalog/test_weight.py::test_a_value_is_refused_where_every_level_of_it_doubles_the_work",
    ],
    "depth 3000": [
        "tests/connectors/mcp/test_listing.py::test_a_list_that_nests_3000_deep_is_no_list_and_calls_go_on",
        f"{HOSTILE}[deep]",
    ],
    "catastrophic patterns in input schemas": [
        f"{HOSTILE}[slow_pattern]",
        "tests/catalog/test_catalog.py::test_a_catastrophic_pattern_is_matched_in_linear_time_or_refused",
    ],
    "catastrophic patterns in output schemas": [f"{HOSTILE}[slow_pattern_in_results]"],
    "5,000 tools": [SHOWN],
    "2 MB descriptions": [f"{HOSTILE}[large]"],
    "endless cursors": ["tests/connectors/mcp/test_listing.py::test_a_list_without_end_or_shape_is_refused"],
    "redirects": [
        f"{OVER_HTTP}[redirect]",
        f"{OVER_SSE}[redirect]",
        "tests/connectors/mcp/test_sse.py::test_a_place_for_messages_that_is_not_the_servers_own_is_sent_nothing",
        "tests/connectors/rest/test_exchange.py::test_a_redirect_to_anywhere_else_is_not_followed",
    ],
    "hostile OAuth metadata": [
        "tests/credentials/test_client_credentials.py::test_hostile_metadata_is_refused_and_no_secret_is_sent",
        "tests/credentials/test_client_credentials.py::test_hostile_resource_metadata_is_refused",
    ],
    "metadata addresses in ~40 spellings": [
        "tests/connectors/egress/test_spellings.py::"
        "test_a_forbidden_address_is_refused_in_every_spelling_even_where_its_host_is_allowed"
    ],
    "server-initiated sampling, roots, elicitation": [
        "tests/transport/test_conversations.py::test_a_question_no_policy_allows_is_refused_on_record_and_never_asked",
        "tests/pipeline/test_asking.py::test_a_server_is_told_only_of_what_policies_let_it_ask",
        "tests/connectors/mcp/test_stdio.py::test_a_server_may_ping_and_nothing_else",
        "tests/connectors/mcp/test_talk.py::test_one_call_asks_only_so_many_questions_and_so_long",
    ],
    "result ≠ output schema": [
        "tests/pipeline/stages/test_check.py::test_structured_content_that_breaks_its_schema_is_withheld"
    ],
    "foreign id": [f"{OVER_HTTP}[foreign_id]", f"{OVER_SSE}[another_is_answered]", f"{OVER_PIPES}[foreign]"],
    "duplicate answer": [
        f"{OVER_HTTP}[answered_twice]",
        f"{OVER_HTTP}[stream_with_two_answers]",
        f"{OVER_SSE}[answered_twice]",
        f"{OVER_PIPES}[duplicate]",
    ],
    "result + error": [f"{OVER_HTTP}[result_and_error]", f"{OVER_PIPES}[both]"],
    "50 MB": [f"{OVER_HTTP}[fifty_megabytes]", f"{OVER_HTTP}[oversize_declared]", f"{OVER_PIPES}[oversize]"],
    "compression bomb": [f"{OVER_HTTP}[bomb]", f"{OVER_HTTP}[bomb_unannounced]"],
    "comment floods": [f"{OVER_HTTP}[comment_flood]", f"{OVER_SSE}[comment_flood]"],
    "notification floods": [
        f"{OVER_HTTP}[notification_flood]",
        f"{OVER_SSE}[notification_flood]",
        f"{OVER_PIPES}[notification-flood]",
        "tests/live/harm/test_harm.py::test_rowdy_servers_one_after_the_other_and_then_together_harm_no_other",
    ],
    "drip": [f"{OVER_HTTP}[drip]", f"{OVER_HTTP}[drip_headers]", f"{OVER_HTTP}[drip_events]"],
    "hang": [f"{OVER_HTTP}[hang]", f"{OVER_SSE}[never_answered]", f"{OVER_PIPES}[hang]"],
    "echo of an injected credential in an error": [
        "tests/connectors/mcp/test_http_faults.py::test_a_fault_ends_its_own_call_and_no_other",
        "tests/credentials/test_canary.py::test_no_secret_of_any_kind_shows_anywhere",
    ],
    "stdio: stdout garbage": [f"{OVER_PIPES}[garbage]", f"{OVER_PIPES}[noise]"],
    "stdio: half lines": [f"{OVER_PIPES}[half-lines]"],
    "stdio: 20 MB stderr": [f"{OVER_PIPES}[stderr-flood]"],
    "stdio: spawned children": [
        "tests/connectors/mcp/test_process.py::test_grandchildren_end_with_a_server_that_leaves_politely",
        "tests/connectors/mcp/test_process.py::test_children_and_grandchildren_die_when_the_gateway_is_killed",
    ],
    "stdio: ignored SIGTERM": [
        "tests/connectors/mcp/test_process.py::test_closing_ends_a_server_that_ignores_sigterm_and_its_grandchildren"
    ],
    "stdio: environment snooping": [
        "tests/connectors/mcp/test_process.py::test_a_child_sees_only_a_scrubbed_environment_and_its_own"
    ],
}


@cache
def source(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@cache
def names_in(path: str) -> frozenset[str]:
    nodes = ast.walk(ast.parse(source(path)))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("line", BEHIND)
def test_a_line_of_the_checklist_is_held_by_tests_that_are_there(line: str) -> None:
    assert BEHIND[line]
    for named in BEHIND[line]:
        found = re.fullmatch(r"([^:]+)::(test_\w+)(?:\[(.+)\])?", named)
        assert found, named
        path, test, case = found.groups()
        assert test in names_in(path), named
        assert case is None or f'"{case}"' in source(path), named
