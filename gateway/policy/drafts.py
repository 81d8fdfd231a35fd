"""Tools in draft mode, as Cedar: none of their calls is carried out that nobody approved."""

from collections.abc import Iterable

from gateway.model.tool import Tool
from gateway.policy.cedar import quoted
from gateway.policy.source import PolicySource

__all__ = ["compile_drafts"]

_MESSAGE = "A call of this tool makes a draft, which a person looks at before it is carried out."


def compile_drafts(tools: Iterable[Tool]) -> tuple[PolicySource, ...]:
    """Return the forbids of the tools that make drafts, which yield to an approval of the very arguments."""
    return tuple(PolicySource(f"tools.{tool.name}.mode", _forbid(tool.name)) for tool in tools if tool.drafts)


def _forbid(name: str) -> str:
    return (
        f"@id({quoted(f'draft.{name}')})\n@obligation({quoted('approval:its approvers')})\n"
        f"@message({quoted(_MESSAGE)})\n"
        f"forbid (principal, action == Gateway::Action::{quoted(name)}, resource)\n"
        "unless { context.base has approval && context.base.approval.argsMatch };\n"
    )
