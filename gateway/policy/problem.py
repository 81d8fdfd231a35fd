"""What is wrong with a policy source, and where."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["PolicyLoadError", "Problem"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the policies. `line` and `column` count from 1; 0 where no place in a text is to blame.

    `code` is stable. `fix` says what to do, or is empty.
    """

    file: str
    line: int
    column: int
    code: str
    message: str
    fix: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        hint = f" Fix: {self.fix}" if self.fix else ""
        return f"{place}: {self.code}: {self.message}{hint}"


class PolicyLoadError(ValueError):
    """The policies were refused as a whole; `problems` is every reason that was found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
