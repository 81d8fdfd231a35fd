"""The part of a tool rule that says how it is looked up whether a call in doubt has happened."""

from pydantic import BaseModel, ConfigDict, Field

from gateway.catalog.adapter import AdapterRule, FieldName, adapter, result_adapter
from gateway.catalog.answers import Ensure
from gateway.catalog.assertions import assertions
from gateway.model.lookup import BY_CONNECTOR, Lookup

__all__ = ["LookupRule", "lookup_of"]


class LookupRule(BaseModel):
    """The read that tells whether a call has happened. `lookup: payments.find` is short for one with `tool` alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: str = Field(min_length=3, max_length=256, description="Its canonical name; only a read is ever asked.")
    arguments: AdapterRule = Field(
        default=AdapterRule(), description="From the arguments of the call to its own; it is given those it knows."
    )
    key: FieldName | None = Field(
        None, description="The argument that takes the idempotency key the call was sent with."
    )
    happened: Ensure = Field({"found": True}, description="What its answer says of a call that has happened.")
    absent: Ensure = Field({"found": False}, description="What it says of one that surely has not.")
    result: AdapterRule = Field(default=AdapterRule(), description="From its answer to the result of the call.")
    after_each: bool = Field(
        False,
        description="Ask it after every call too: an effect that it does not know of is in doubt, whatever was said.",
    )


def lookup_of(rule: str | LookupRule | None, *, declared: bool) -> Lookup | None:
    """Return what the operator says, else what the connector declared."""
    if rule is None:
        return BY_CONNECTOR if declared else None
    if isinstance(rule, str):
        rule = LookupRule(tool=rule)
    return Lookup(
        rule.tool,
        adapter(rule.arguments),
        rule.key or "",
        assertions(rule.happened),
        assertions(rule.absent),
        result_adapter(rule.result),
        rule.after_each,
    )
