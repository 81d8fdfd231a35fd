"""Tools that ask the client for something: forms, its model, its roots, once or in rounds."""

import json
from collections.abc import Mapping
from typing import Any

from mcp.shared.exceptions import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolRequestParams,
    CallToolResult,
    CreateMessageResult,
    ElicitResult,
    InputRequest,
    InputResponse,
    ListRootsResult,
    TextContent,
)

from tests.conformance.everything.asking import Request, ask, elicitation, is_modern, one_field, roots, sampling
from tests.conformance.everything.forms import DEFAULTS_FORM, ENUMS_FORM
from tests.conformance.everything.tool import ServedTool, said

__all__ = ["INPUT_TOOLS"]


def _field(answer: InputResponse, name: str) -> Any:
    return (answer.content or {}).get(name) if isinstance(answer, ElicitResult) else None


def _said_by(answer: InputResponse) -> str:
    if isinstance(answer, CreateMessageResult) and isinstance(answer.content, TextContent):
        return answer.content.text
    return "nothing"


def _filled(answer: InputResponse) -> str:
    assert isinstance(answer, ElicitResult)
    return f"action={answer.action}, content={json.dumps(answer.content or {})}"


async def _sampling(context: Request, params: CallToolRequestParams) -> CallToolResult:
    prompt = str((params.arguments or {})["prompt"])
    answers = await ask(context, params, {"answer": sampling(prompt)})
    return said(f"LLM response: {_said_by(answers['answer'])}")


async def _elicitation(context: Request, params: CallToolRequestParams) -> CallToolResult:
    form = elicitation(str((params.arguments or {})["message"]), one_field("response", description="User's response"))
    answers = await ask(context, params, {"answer": form})
    return said(f"User response: {_filled(answers['answer'])}")


async def _defaults(context: Request, params: CallToolRequestParams) -> CallToolResult:
    form = elicitation("Please review and update the form fields with defaults", DEFAULTS_FORM)
    answers = await ask(context, params, {"form": form})
    return said(f"Elicitation completed: {_filled(answers['form'])}")


async def _enums(context: Request, params: CallToolRequestParams) -> CallToolResult:
    answers = await ask(context, params, {"form": elicitation("Please choose", ENUMS_FORM)})
    return said(f"Elicitation completed: {_filled(answers['form'])}")


async def _name(context: Request, params: CallToolRequestParams) -> CallToolResult:
    answers = await ask(context, params, {"user_name": elicitation("What is your name?", one_field("name"))})
    return said(f"Hello, {_field(answers['user_name'], 'name')}!")


async def _capital(context: Request, params: CallToolRequestParams) -> CallToolResult:
    answers = await ask(context, params, {"capital_question": sampling("What is the capital of France?")})
    return said(f"The model said: {_said_by(answers['capital_question'])}")


async def _roots(context: Request, params: CallToolRequestParams) -> CallToolResult:
    answer = (await ask(context, params, {"client_roots": roots()}))["client_roots"]
    found = [str(root.uri) for root in answer.roots] if isinstance(answer, ListRootsResult) else []
    return said(f"The client's roots: {', '.join(found)}")


async def _state(context: Request, params: CallToolRequestParams) -> CallToolResult:
    form = elicitation("Please confirm", one_field("ok", "boolean"))
    await ask(context, params, {"confirm": form}, state="confirming")
    if is_modern(context) and params.request_state != "confirming":
        raise MCPError(code=-32602, message="The answer came without the state it belongs to")
    return said("state-ok: confirmed")


async def _several(context: Request, params: CallToolRequestParams) -> CallToolResult:
    requests: Mapping[str, InputRequest] = {
        "user_name": elicitation("What is your name?", one_field("name")),
        "greeting": sampling("Generate a greeting", 50),
        "client_roots": roots(),
    }
    answers = await ask(context, params, requests, state="several")
    return said(f"{_said_by(answers['greeting'])} {_field(answers['user_name'], 'name')}")


async def _rounds(context: Request, params: CallToolRequestParams) -> CallToolResult:
    known = json.loads(params.request_state) if params.request_state else {}
    if "name" not in known:
        form = elicitation("Step 1: What is your name?", one_field("name"))
        known["name"] = _field((await ask(context, params, {"step1": form}, state="{}"))["step1"], "name")
    form = elicitation("Step 2: What is your favorite color?", one_field("color"))
    answers = await ask(context, params, {"step2": form}, state=json.dumps(known))
    return said(f"{known['name']} likes {_field(answers['step2'], 'color')}")


async def _declared(context: Request, params: CallToolRequestParams) -> CallToolResult:
    can = context.session.client_capabilities
    requests: dict[str, InputRequest] = {}
    if can is not None and can.sampling is not None:
        requests["greeting"] = sampling("Say hello", 50)
    if can is not None and can.elicitation is not None:
        requests["user_name"] = elicitation("What is your name?", one_field("name"))
    answers = await ask(context, params, requests, state="declared") if requests else {}
    return said(f"Answered: {', '.join(sorted(answers))}")


async def _missing(context: Request, _: CallToolRequestParams) -> CallToolResult:
    can = context.session.client_capabilities
    if can is None or can.sampling is None:
        raise MCPError(
            code=MISSING_REQUIRED_CLIENT_CAPABILITY,
            message="This tool needs the client's sampling capability",
            data={"requiredCapabilities": {"sampling": {}}},
        )
    return said("The client can sample")


INPUT_TOOLS = (
    ServedTool("test_sampling", "Asks the client's model", _sampling, one_field("prompt", description="The prompt")),
    ServedTool("test_elicitation", "Asks the user", _elicitation, one_field("message", description="The question")),
    ServedTool("test_elicitation_sep1034_defaults", "Asks with a default in every field", _defaults),
    ServedTool("test_elicitation_sep1330_enums", "Asks with every kind of choice", _enums),
    ServedTool("test_streaming_elicitation", "Asks the user in the middle of a call", _name),
    ServedTool("test_input_required_result_elicitation", "Asks the user for a name", _name),
    ServedTool("test_input_required_result_sampling", "Asks the client's model for a capital", _capital),
    ServedTool("test_input_required_result_list_roots", "Asks for the client's roots", _roots),
    ServedTool("test_input_required_result_request_state", "Asks, and knows its own state again", _state),
    ServedTool("test_input_required_result_tampered_state", "Asks, and refuses a state that was changed", _state),
    ServedTool("test_input_required_result_multiple_inputs", "Asks three things at once", _several),
    ServedTool("test_input_required_result_multi_round", "Asks twice, one after the other", _rounds),
    ServedTool("test_input_required_result_capabilities", "Asks only what the client can answer", _declared),
    ServedTool("test_missing_capability", "Needs a client that can sample", _missing),
)
