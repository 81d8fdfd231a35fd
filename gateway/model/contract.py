"""A version of a tool in which some agents are still spoken with, while its server speaks a newer one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Contract"]

Change = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Contract:
    """What an agent knows of a tool: the `definition` pinned as `version`, and what its schemas say of a value.

    `arguments` puts arguments of this version into the tool's present one, `result` an MCP result back; the latter
    raises `ValueError` for a result of which it cannot be made. None: they are alike. `broken` says why the agent
    cannot be spoken with in this version, or is empty.
    """

    version: int
    definition: Mapping[str, Any] = field(repr=False)
    breaks_input: Callable[[Any], str] = field(repr=False, compare=False)
    breaks_output: Callable[[Any], str] = field(repr=False, compare=False)
    arguments: Change | None = field(default=None, repr=False, compare=False)
    result: Change | None = field(default=None, repr=False, compare=False)
    broken: str = ""

    def answer(self, result: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return an MCP result of the present version as one of this. Raises `ValueError`: that cannot be done.

        A tool's own error and a question have no version.
        """
        return result if self.result is None or not _is_versioned(result) else self.result(result)

    def breach(self, result: Mapping[str, Any]) -> str:
        """Return what in a result of the present version keeps it from being an answer of this, or nothing."""
        if not _is_versioned(result):
            return ""
        try:
            made = self.answer(result)
        except ValueError as error:
            return str(error)
        if self.definition.get("outputSchema") is None:
            return ""
        return self.breaks_output(made["structuredContent"]) if "structuredContent" in made else "it is not structured"


def _is_versioned(result: Mapping[str, Any]) -> bool:
    return result.get("isError") is not True and result.get("resultType", "complete") == "complete"
