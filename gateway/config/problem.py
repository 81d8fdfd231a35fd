"""What is wrong with a configuration, and where."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ConfigError", "Problem"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong. `line` and `column` count from 1, 0 where no place in a text is to blame.

    `code` is stable: unreadable, syntax, duplicate_key, unknown_key, missing_key, wrong_value, too_large, or what a
    failed reference says of itself. `hint` says what to do, or is empty. No text holds a resolved value.
    """

    file: str
    line: int
    column: int
    code: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        hint = f"\n  hint: {self.hint}" if self.hint else ""
        return f"{place}: {self.code}: {self.message}{hint}"


class ConfigError(ValueError):
    """The configuration is refused as a whole; `problems` is every reason that was found, in order of place."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column)))
        super().__init__("\n".join(str(problem) for problem in self.problems))
