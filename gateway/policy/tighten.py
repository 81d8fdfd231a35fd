"""Less access that still covers all that was used: shorter `allow:` lists, and Cedar for what other policies permit."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from gateway.policy.allow import compile_allow
from gateway.policy.bundle import Bundle
from gateway.policy.cedar import quoted
from gateway.policy.entities import CALL_TOOL

__all__ = ["MOST_TERMS", "allowing", "keeping_to"]

MOST_TERMS: Final = 80
"""Tools that one policy here names; the loader takes at most 90 terms."""


def allowing(bundle: Bundle, allowed: Mapping[str, Sequence[str]]) -> Bundle:
    """Return what `allow:` lists alone would permit, over the tools and agents of a bundle."""
    return Bundle.load(
        compile_allow(allowed), tuple(bundle.tools.values()), tuple(bundle.agents.values()), bundle.options
    )


def keeping_to(agent: str, server: str, used: Collection[str], *, whole: bool, name: str) -> str:
    """Return a forbid called `name` that keeps an agent to what it used of a server; nothing where that is too much.

    Where `whole`, and none was used, it forbids documents and prompts too.
    """
    if len(used) > MOST_TERMS:
        return ""
    why = f"{agent} did not use this of {server} in the time that was reviewed. Ask the operator for it."
    scope = "action" if whole and not used else f"action in Gateway::Action::{quoted(CALL_TOOL)}"
    head = (
        f"@id({quoted(name)})\n@message({quoted(why)})\n"
        f"forbid (principal == Gateway::Agent::{quoted(agent)}, {scope}, resource in Gateway::Server::{quoted(server)})"
    )
    terms = " ||\n  ".join(f"resource == Gateway::Tool::{quoted(name)}" for name in sorted(used))
    return f"{head}\nunless {{\n  {terms}\n}};\n" if terms else f"{head};\n"
