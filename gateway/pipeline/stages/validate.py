"""Stage 4: hold the arguments against the pinned schema."""

from gateway.codec import CodecError, digest
from gateway.model.call import Call
from gateway.model.errors import RequestFault

__all__ = ["Validate"]


class Validate:
    """Sets `call.arguments`, the very object the agent sent, and its digest."""

    async def __call__(self, call: Call) -> None:
        arguments = call.request.arguments
        if broken := call.tool.breaks_input(arguments):
            look = f' tools_describe {{"names": ["{call.tool.wire_name}"]}} shows it.' if call.request.via else ""
            raise RequestFault(f"The arguments of {call.tool.wire_name} break its schema: {broken}.{look}")
        try:
            call.arguments_digest = digest(arguments)
        except CodecError as error:
            raise RequestFault(
                "The arguments hold a value that JSON cannot carry exactly.", detail=str(error)
            ) from None
        call.arguments = arguments
