"""What the gateway answers to each MCP method, whatever the transport and the era."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway import __version__
from gateway.codec import dump
from gateway.model.errors import RequestFault
from gateway.model.identity import Identity
from gateway.model.light import light
from gateway.model.outcome import Succeeded
from gateway.model.request import Caller, CallRequest
from gateway.pipeline.listing import Listing
from gateway.pipeline.rules import RulesInForce
from gateway.pipeline.runner import Ended, Runner
from gateway.transport.answers import identity_fault, tool_result
from gateway.transport.wire import RpcError

__all__ = ["IDEMPOTENCY_META", "RUN_META", "SERVER_INFO", "Answer", "Kernel"]

SERVER_INFO: Final = {"name": "toolgate", "version": __version__}
RUN_META: Final = "io.toolgate/run"
IDEMPOTENCY_META: Final = "io.toolgate/idempotency-key"
_LABEL: Final = re.compile(r"[\x21-\x7e]{1,200}")
_INVALID_PARAMS: Final = -32602
_LONGEST: Final = 128


@light
@dataclass(frozen=True, slots=True)
class Answer:
    """A result object, and the call behind it where there was one."""

    result: dict[str, Any]
    ended: Ended | None = None

    @property
    def claimed_call(self) -> str:
        """The id of the claimed call whose outcome this is, now or from the record; empty for anything else."""
        if self.ended is None:
            return ""
        if self.ended.call.has("intent") and self.ended.call.intent:
            return self.ended.call.id
        outcome = self.ended.outcome
        return (outcome.replayed_from or "") if isinstance(outcome, Succeeded) else ""


class Kernel:
    """`tools/call` through the pipeline, `tools/list` through the policies, `ping`."""

    def __init__(self, runner: Runner, listing: Listing, rules: RulesInForce) -> None:
        self._runner = runner
        self._rules = rules
        self._listing = listing
        self._mirrors: dict[str, bool] = {}

    async def call_tool(self, caller: Caller, params: Mapping[str, Any], headers: Mapping[str, str]) -> Answer:
        """Carry out a `tools/call`.

        Raises:
            RpcError: the params are not those of a tools/call.
            IdentityFault: nobody knows the caller (the refusal is on record).
        """
        name = params.get("name")
        arguments = params.get("arguments")
        if not isinstance(name, str):
            raise RpcError(_INVALID_PARAMS, "tools/call needs params.name, a string.")
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, dict):
            raise RpcError(_INVALID_PARAMS, "params.arguments must be an object.")
        meta = params.get("_meta")
        if meta is None:
            meta = {}
        if not isinstance(meta, dict):
            raise RpcError(_INVALID_PARAMS, "params._meta must be an object.")
        request = CallRequest(
            name=name,
            arguments=arguments,
            caller=caller,
            meta=meta,
            run=_label(meta, RUN_META, headers.get("toolgate-run")),
            idempotency_key=_label(meta, IDEMPOTENCY_META, headers.get("idempotency-key")),
        )
        ended = await self._runner.run(request)
        fault = identity_fault(ended.outcome)
        if fault is not None:
            raise fault
        return Answer(tool_result(ended, self._wire_name), ended)

    async def identify(self, caller: Caller, method: str, params: Mapping[str, Any]) -> Identity:
        """Return who is calling. Raises `IdentityFault`; a stranger is put on record."""
        name = params.get("name") if method == "tools/call" else None
        return await self._listing.identify(caller, name[:_LONGEST] if isinstance(name, str) else method[:_LONGEST])

    async def refuse(self, caller: Caller, name: Any, fault: RequestFault) -> None:
        """Put on record that a known caller sent what is no proper call of the tool it calls `name`.

        Raises:
            IdentityFault: nobody knows the caller (which is put on record instead).
        """
        asked = name[:_LONGEST] if isinstance(name, str) else ""
        identity = await self._listing.identify(caller, asked)
        await self._runner.refuse(CallRequest(asked, {}, caller), fault, identity)

    async def list_tools(self, caller: Caller, params: Mapping[str, Any]) -> Answer:
        """Return every tool this caller may see, on one page.

        Raises:
            IdentityFault: as `identify`.
            LimitFault: not now.
            RpcError: a cursor the gateway never gave out.
        """
        identity = await self.identify(caller, "tools/list", params)
        if params.get("cursor") is not None:
            raise RpcError(_INVALID_PARAMS, "There is no such cursor: the list has one page.")
        return Answer({"tools": self._listing.tools(identity)})

    def header_schema(self, name: Any) -> Mapping[str, Any] | None:
        """Return the pinned input schema of a tool that mirrors arguments into headers (`x-mcp-header`), else None."""
        tool = self._rules.current.catalog.find(name) if isinstance(name, str) else None
        if tool is None:
            return None
        mirrors = self._mirrors.get(tool.digest)
        if mirrors is None:
            mirrors = self._mirrors[tool.digest] = b'"x-mcp-header"' in dump(tool.input_schema)
        return tool.input_schema if mirrors else None

    def _wire_name(self, canonical: str) -> str:
        tool = self._rules.current.catalog.find(canonical)
        return tool.wire_name if tool else canonical


def _label(meta: Mapping[str, Any], key: str, header: str | None) -> str | None:
    """Read a run or idempotency key from `_meta`, else from its header.

    Raises:
        RpcError: not 1-200 visible ASCII characters, or the two disagree.
    """
    value = meta.get(key, header)
    if value is None:
        return None
    if not isinstance(value, str) or not _LABEL.fullmatch(value):
        raise RpcError(_INVALID_PARAMS, f"{key} must be 1 to 200 visible ASCII characters.")
    if header is not None and header != value:
        raise RpcError(_INVALID_PARAMS, f"{key} in _meta and in the header disagree.")
    return value
