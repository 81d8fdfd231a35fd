"""What is wrong with a text that a person wrote, and where."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Problem", "ProblemsError"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong. `line` and `column` count from 1, 0 where no place in a text is to blame.

    `code` is stable. `fix` says what to do, or is empty. No text holds a resolved value.
    """

    file: str
    line: int
    column: int
    code: str
    message: str
    fix: str = ""

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    def __str__(self) -> str:
        fix = f"\n  fix: {self.fix}" if self.fix else ""
        return f"{self.place}: {self.code}: {self.message}{fix}"


class ProblemsError(ValueError):
    """Something is refused as a whole; `problems` is every reason that was found, in order of place."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column)))
        super().__init__("\n".join(str(problem) for problem in self.problems))
