"""Stage 4: hold the arguments against the pinned schema."""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.codec import CodecError, digest
from gateway.model.call import Call
from gateway.model.contract import Contract
from gateway.model.errors import RequestFault
from gateway.model.tool import Tool

__all__ = ["Validate"]


class Validate:
    """Sets `call.arguments`, the very object the agent sent, and its digest.

    Of an agent that is held at an older version it is what that version's adapter makes of them: policies, ledger and
    server see one version only. `found_in` says where in a value there is a secret.
    """

    def __init__(self, found_in: Callable[[Any], str | None]) -> None:
        self._found_in = found_in

    def __call__(self, call: Call) -> None:
        contract, arguments = call.tool.contract, call.request.arguments
        if broken := (call.tool if contract is None else contract).breaks_input(arguments):
            look = f' tools_describe {{"names": ["{call.tool.wire_name}"]}} shows it.' if call.request.via else ""
            raise RequestFault(f"The arguments of {call.tool.wire_name} break its schema: {broken}.{look}")
        if call.tool.refuses_secrets and (place := self._found_in(arguments)) is not None:
            raise RequestFault(
                f"What looks like a secret is in the arguments of {call.tool.wire_name}, at {place or 'the top'}: "
                "nothing was sent.",
                code="secret_in_arguments",
            )
        if contract is not None:
            arguments = _adapted(call.tool, contract, arguments)
        try:
            call.arguments_digest = digest(arguments)
        except CodecError as error:
            raise RequestFault(
                "The arguments hold a value that JSON cannot carry exactly.", detail=str(error)
            ) from None
        call.arguments = arguments


def _adapted(tool: Tool, contract: Contract, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    made = arguments if contract.arguments is None else contract.arguments(arguments)
    if broken := tool.breaks_input(made):
        raise RequestFault(
            f"What the adapter from version {contract.version} makes of these arguments breaks version {tool.version} "
            f"of {tool.wire_name}: {broken}. Tell the operator."
        )
    return made
